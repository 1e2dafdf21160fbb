import pytest

from iitdask.cli.output import parse_duration
from iitdask.errors import InputError

TIMES = {
    "55m": 3300,
    "2 hours": 7200,
    "90": 90,
    "0s": 0,
    "10:00": 600,
    "01:30:00": 5400,
    "1-12:00:00": 129600,
    "1-12:00": 129600,
}


@pytest.mark.parametrize("given", TIMES)
def test_duration__reads_what_people_and_slurm_write(given):
    assert parse_duration(given, "--lifetime") == TIMES[given]


@pytest.mark.parametrize("given", ["soon", "1:a", "1-", "", "-1", "nan", "1e400", "nan:00", "inf"])
def test_duration__refuses_what_is_no_time(given):
    with pytest.raises(InputError, match="--lifetime: expected a time such as"):
        parse_duration(given, "--lifetime")


def test_duration__may_be_missing():
    assert parse_duration(None, "--lifetime") is None
