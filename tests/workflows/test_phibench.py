"""The benchmark reproduces published values, resumes, and sets peers beside each other."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from workflows.phibench import analyse, graphs, report


def test_grid__is_the_published_one():
    chosen = list(analyse.cases())
    assert len(chosen) * analyse.NETWORKS == 20_100
    assert len(graphs.read()) == 104 == len(list(graphs.configurations()))
    by_topology = {
        topology: analyse.NETWORKS * len(list(group))
        for topology, group in itertools.groupby(
            sorted(chosen, key=lambda case: case.topology), key=lambda case: case.topology
        )
    }
    assert by_topology == {
        "barabasi_albert": 2850,
        "erdos_renyi": 4000,
        "modular": 2850,
        "random_geometric": 2850,
        "ring_lattice": 1700,
        "watts_strogatz": 5850,
    }


def test_table__is_the_rule_averaged_over_what_the_graph_does_not_connect():
    (case,) = (c for c in analyse.cases((4,), ("and",)) if c.name == "erdos_renyi_n4_p0.7")
    tpm = case.tpm
    for unit in range(4):
        inputs = np.flatnonzero(case.connections[:, unit])
        for state in itertools.product((0, 1), repeat=4):
            alike = [
                other
                for other in itertools.product((0, 1), repeat=4)
                if all(other[j] == state[j] for j in inputs)
            ]
            expected = np.mean([other[unit] * other[unit - 1] for other in alike])
            assert tpm[(*state, unit)] == pytest.approx(expected)


def test_graphs__are_those_of_networkx():
    pytest.importorskip("networkx")
    from workflows.phibench.draw import draw

    known = {name: connections for name, _, _, connections in graphs.read()}
    for n, topology, parameters in graphs.configurations():
        if topology == "ring_lattice" or parameters.get("p") == 0.0:  # no chance, any version
            name = graphs.name_of(n, topology, parameters)
            assert (draw(n, topology, parameters) == known[name]).all()


def test_four_units__have_published_values_and_resume(tmp_path, capsys):
    path, page = tmp_path / "four.csv", tmp_path / "four.md"
    analyse.main([str(path), str(page), "--sizes", "4", "--rules", "majority,and"])
    forecast = capsys.readouterr().out
    assert "forecast:" in forecast
    found = report.load(path)
    assert len(found) == 2 * 20 * analyse.NETWORKS
    assert tuple(found.columns[:-1]) == analyse.COLUMNS
    majority = found[(found["tpm_rule"] == "majority") & (found["phi"] > 0)]
    assert majority["phi"].mean() == pytest.approx(0.401, abs=5e-4)  # as published
    assert found[found["tpm_rule"] == "and"]["phi"].max() == pytest.approx(0.375)
    first = path.read_text(encoding="utf-8")
    path.write_text("\n".join(first.splitlines()[:-30]) + "\n", encoding="utf-8")
    done = analyse.finished(path)
    assert len(done) == 39
    analyse.run(path, list(analyse.cases((4,), ("majority", "and"))), analyse.iitdask_phi)
    assert len(report.load(path)) == len(found)


def test_beside__names_what_differs(tmp_path):
    (case,) = (c for c in analyse.cases((4,), ("or",)) if c.name == "ring_lattice_n4_k2")
    for name, phi in (("ours", 0.25), ("theirs", 0.5)):
        analyse.run(tmp_path / f"{name}.csv", [case], lambda *_, value=phi: value)
    text = report.beside(tmp_path / "ours.csv", tmp_path / "theirs.csv")
    assert text.startswith("1 configurations in both, 1 with another Phi")
    assert "('ring_lattice_n4_k2', 'or'): 0.25 and 0.5" in text
    published = "erdos_renyi_n4_p0.2_20251206_112644_090924"  # as their file names networks
    other = (
        (tmp_path / "ours.csv")
        .read_text(encoding="utf-8")
        .replace("ring_lattice_n4_k2_00", published)
    )
    (tmp_path / "ours.csv").write_text(other, encoding="utf-8")
    assert report.load(tmp_path / "ours.csv")["configuration"][0] == "erdos_renyi_n4_p0.2"


def test_engine__is_found_by_name():
    assert analyse.find_engine("iitdask") is analyse.iitdask_phi
    assert analyse.find_engine("math:hypot")(3, 4) == 5


def test_output__is_of_the_whole_run():
    text = (Path(analyse.__file__).parent / "output.md").read_text(encoding="utf-8")
    assert text.startswith("# 20,100 networks")
    assert "differs" not in text
