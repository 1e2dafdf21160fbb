"""IIT 3.0 against the released PyPhi 1.2.0, in a Python of its own.

PyPhi 1.2.0 needs NumPy below 1.24 and cannot live beside iitdask. Where it is wanted::

    python3.11 -m venv pyphi && pyphi/bin/pip install pyphi==1.2.0 'numpy<1.24' 'scipy<1.12' setuptools
    IITDASK_PYPHI=pyphi/bin/python python -m pytest tests/theory/iit3/test_pyphi.py
"""  # noqa: E501

import json
import os
import subprocess

import numpy as np
import pytest

import iitdask as iit
from tests.reference.random_systems import drawn

PYTHON = os.environ.get("IITDASK_PYPHI")
pytestmark = pytest.mark.skipif(
    PYTHON is None, reason="IITDASK_PYPHI names no Python with pyphi 1.2.0: see the file's head"
)
PAPER = {"name": "iit3", "background": "2014"}
ASK = """
import collections, collections.abc, json, sys
for name in ("Iterable", "Mapping", "Sequence", "MutableMapping", "Callable", "Hashable", "Sized"):
    setattr(collections, name, getattr(collections.abc, name))
import pyphi
pyphi.config.PROGRESS_BARS = False
pyphi.config.PARALLEL_CUT_EVALUATION = False
answers = []
for network, state, units in json.load(sys.stdin):
    found = pyphi.jsonify.loads(json.dumps(network))
    system = pyphi.Subsystem(found, tuple(state), tuple(units))
    sia = pyphi.compute.sia(system)
    answers.append([sia.phi, [[list(c.mechanism), c.phi] for c in sia.ces]])
print("ANSWERS" + json.dumps(answers))
"""


def systems():
    """Published networks, then random binary ones of two to four units."""
    for name in ("iit3-2014-fig4", "iit3-2014-fig14", "iit3-2014-fig16", "basic", "xor"):
        substrate, state = iit.examples.load(name), iit.examples.state(name)
        for units in ("ABC", "AB", "BC"):
            yield substrate, list(substrate.parse_state(state)), list(substrate.parse_units(units))
    for units, count in ((2, 20), (3, 20), (4, 4)):
        for number in range(count):
            case, _ = drawn(number, units)
            if set(case.levels) == {2}:
                yield case.substrate(), list(case.state), list(case.units)


def test_phi_and_concepts__are_those_of_the_release(tmp_path):
    asked = []
    for substrate, state, units in systems():
        try:
            iit.sia(substrate, state, units, theory=PAPER)
        except iit.errors.UnreachableStateError:
            continue
        asked.append((substrate, state, units))
    given = json.dumps([(s.to_pyphi(), state, units) for s, state, units in asked])
    env = {**os.environ, "PYPHI_WELCOME_OFF": "yes"}
    how = {"capture_output": True, "text": True, "cwd": tmp_path}  # it writes a log
    done = subprocess.run([PYTHON, "-c", ASK], check=True, input=given, env=env, **how)
    answers = json.loads(done.stdout.split("ANSWERS")[1])
    assert len(answers) > 40
    for (substrate, state, units), (phi, concepts) in zip(asked, answers, strict=True):
        tree = iit.ces(substrate, state, units, theory=PAPER)
        assert float(tree["system"]["phi"]) == pytest.approx(phi, abs=3e-6)
        if phi > 0:  # the release lists no concepts where it stops early
            found = tree["distinctions"]
            names = [tuple(np.array(units)[m].tolist()) for m in found["mechanism_units"].values]
            ours = dict(zip(names, found["phi"].values.tolist(), strict=True))
            assert sorted(ours) == sorted(tuple(m) for m, _ in concepts)
            for mechanism, value in concepts:
                assert ours[tuple(mechanism)] == pytest.approx(value, abs=3e-6)
