"""Studies of transitions on the command line."""

import json

import pytest

import iitdask as iit
from iitdask.cli import app

NETWORK = "substrate: {example: causation2019-fig6}\n"
ACCOUNTS = [n for n in iit.examples.names() if n.startswith("causation2019-")]


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run a command in an empty directory; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("iitdask.cli.run_command._compile_kernels", lambda *_: None)

    def run(*words, study=None):
        if study is not None:
            (tmp_path / "study.yaml").write_text(study)
        with pytest.raises(SystemExit) as left:
            app.main(list(words))
        said = capsys.readouterr()
        return left.value.code, said.out, said.err

    return run


def test_run__prints_links_and_show_has_them_as_json(call):
    code, out, _ = call("run", "causation2019-fig7-or", "--quiet", "--store", "or.zarr")
    assert code == 0
    assert "A=1 or B=1 ← C=1" in out
    assert "A=1 → C=1" in out
    code, out, _ = call("show", "or.zarr", "--json")
    links = json.loads(out)["links"]["variables"]
    assert links["n_tied_purviews"]["values"] == [2, 1, 1]
    assert [round(x, 3) for x in links["alpha"]["values"]] == [0.415, 0.415, 0.415]
    code, out, _ = call("verify", "or.zarr")
    assert code == 0


@pytest.mark.parametrize("name", ACCOUNTS)
def test_run__every_example_of_the_paper(name, call):
    code, out, _ = call("run", name, "--quiet", "--store", "x.zarr")
    assert code == 0
    assert "alpha of the account" in out


def test_run__nexus_and_events(call):
    states = 'before: "10"\nafter: "10"\n'
    code, out, _ = call("run", "study.yaml", "--quiet", study=NETWORK + states + "compute: nexus\n")
    assert code == 0
    assert "causal nexus" in out
    assert "1.41504 bits, 2 tie" in out
    study = NETWORK + states + 'state: "10"\ncompute: events\n'
    code, out, _ = call("run", "study.yaml", "--quiet", "--store", "e.zarr", study=study)
    assert code == 0
    assert "true events  2" in " ".join(out.split(" "))


@pytest.mark.parametrize(
    ("study", "words"),
    [
        ('before: "10"\ncompute: account\n', ["after", "account", "nothing"]),
        ('before: "10"\nafter: "1"\ncompute: account\n', ["after", "2 values"]),
        ('before: "10"\nafter: "10"\ncauses: [X]\ncompute: account\n', ["causes", "'X'"]),
        ('before: "10"\nafter: "10"\nmax_order: 0\ncompute: account\n', ["max_order", "0"]),
        ('before: "10"\nafter: "10"\nstate: "10"\ncompute: account\n', ["state", "no meaning"]),
        (
            'before: "10"\nafter: "10"\ntheory: iit4\ncompute: account\n',
            ["theory", "causation2019"],
        ),
        ('before: "10"\nafter: "01"\ncompute: account\n', ["after", "OR=0, AND=1"]),
    ],
    ids=["missing", "short", "unknown", "order", "meaningless", "theory", "impossible"],
)
def test_run__says_in_one_line_what_is_wrong(study, words, call):
    code, _, err = call("run", "study.yaml", "--quiet", study=NETWORK + study)
    lines = [line for line in err.splitlines() if line.startswith("iitdask: ")]
    assert code == 2, err
    assert len(lines) == 1
    for word in words:
        assert word in lines[0]
