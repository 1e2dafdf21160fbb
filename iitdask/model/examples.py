"""Published systems by name: ``iit4-2023-fig6a`` says source, year and figure.

Each is a study in ``published/NAME.json``: data, not code. Its probabilities are
the published ones, or gates that give them.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec

from iitdask.errors import SubstrateError
from iitdask.model.block import inline
from iitdask.model.notation import close_names

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from iitdask.model.substrate import Substrate

__all__ = ["load", "names", "spec", "state"]


def names() -> tuple[str, ...]:
    """Return the names of all examples, sorted."""
    files = (file.name for file in _folder().iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in files if name.endswith(".json")))


def spec(name: str) -> dict[str, Any]:
    """Return an example as a study.

    Parameters
    ----------
    name
        One of :func:`names`.

    Returns
    -------
    dict
        ``substrate``, ``theory``, ``compute``, and ``state`` and ``units``, or
        ``before``, ``after``, ``causes`` and ``effects`` where the study is of a
        transition; for the reader ``name``, ``title``, ``citation``, ``figure``, ``note``.

    Raises
    ------
    SubstrateError
        No example has this name.
    """
    known = names()
    if name not in known:
        raise SubstrateError(f"no example is called {name!r}; {close_names(name, known, 60)}")
    study: dict[str, Any] = msgspec.json.decode((_folder() / f"{name}.json").read_bytes())
    return study


def load(name: str) -> Substrate:
    """Return the substrate of an example.

    Examples
    --------
    >>> load("basic")
    Substrate(3 units: A B C; binary; 5 edges)
    """
    return inline(spec(name)["substrate"], f"example {name!r}")


def state(name: str) -> tuple[int, ...]:
    """Return the state of all units an example is about; of a transition, the state after it.

    Examples
    --------
    >>> state("basic")
    (1, 0, 0)
    """
    study = spec(name)
    return load(name).parse_state(study["state"] if "state" in study else study["after"])


def _folder() -> Traversable:
    return resources.files("iitdask.model") / "published"
