"""Pages are served, or it is said why not."""

import pytest

from iitdask.errors import InputError
from iitdask.view import pages


def test_serve__raises_what_kept_the_server_from_starting(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no loop")

    monkeypatch.setattr(pages, "_start_server", fail)
    with pytest.raises(RuntimeError, match="no loop"), pages.serve_page(lambda _: None):
        pass


@pytest.mark.parametrize("address", ["no.such.invalid", "a" * 300])
def test_serve__refuses_where_nobody_can_listen(address):
    with (
        pytest.raises(InputError, match="--port: cannot listen at"),
        pages.serve_page(lambda _: None, address),
    ):
        pass
