"""A brute-force oracle: integrated information straight from the definitions.

Plain Python and NumPy, slow and obvious, and no code in common with the package under test.
`factors[i]` is an array of shape (k_0, ..., k_{N-1}, k_i) with P(unit i = a at t+1 | x at t), over
ALL units of the substrate; `cm[a][b]` is 1 for an edge a -> b; `state` is the current state of the
substrate; `subset` the candidate system. Sections named in docstrings are those of the numerical
specification. Results are plain dicts; units carry their substrate numbers and states are tuples.
"""

from __future__ import annotations

from tests.reference import structure as _structure
from tests.reference import systems as _systems
from tests.reference.complexes import search as _search
from tests.reference.substrate import System, Unreachable

__all__ = ["System", "Unreachable", "ces", "complexes", "sia"]


def sia(factors, cm, state, subset, theory="iit4", differentiation="specified"):
    """System phi of one candidate (sections 7 and 8)."""
    return _systems.analyse(System(factors, cm, state, subset), theory, differentiation)


def ces(factors, cm, state, subset, theory="iit4", differentiation="specified"):
    """Cause-effect structure of one candidate (sections 4 to 11)."""
    return _structure.unfold(System(factors, cm, state, subset), theory, differentiation)


def complexes(factors, cm, state, theory="iit4", differentiation="specified"):
    """Exclusion over all candidates (section 9)."""
    return _search(factors, cm, state, theory, differentiation)
