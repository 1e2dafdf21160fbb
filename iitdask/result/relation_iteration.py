"""Relations of a cause-effect structure one by one, and how its purviews lie to one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import xarray as xr

from iitdask.errors import InputError, quote
from iitdask.theory.iit4.relations import (
    Bindings,
    relation_faces,
    relations_by_degree,
    top_relations,
)
from iitdask.theory.iit4.relations import relations_of_each as _relations_of_each

__all__ = ["Face", "Relation", "iterate", "pairs"]


UnitStates = tuple[tuple[str, int], ...]  # Labels of units, each with one of its states


@dataclass(frozen=True, slots=True)
class Face:
    """One way in which a relation binds: causes and effects that overlap."""

    sides: tuple[str, ...]  # Of each distinction ``"cause"``, ``"effect"`` or ``"both"``
    overlap: UnitStates  # Unit and state of everything these have in common


@dataclass(frozen=True, slots=True)
class Relation:
    """One relation between distinctions (Albantakis et al. 2023, Eq. 38 ff.)."""

    mechanisms: tuple[str, ...]  # Labels of the related distinctions
    overlap: UnitStates  # Unit and state of everything they have in common
    phi: float  # Integrated information of the relation, bits
    bound: tuple[tuple[UnitStates, UnitStates], ...]  # Those of each one's cause and effect

    @property
    def degree(self) -> int:
        """Number of distinctions; 1 for a self-relation."""
        return len(self.mechanisms)

    @property
    def faces(self) -> tuple[Face, ...]:
        """All faces, up to 3**degree; of a self-relation the one of its cause and effect."""
        number = {atom: k for k, atom in enumerate(self.overlap)}
        masks = [
            [sum(1 << number[atom] for atom in side if atom in number) for side in sides]
            for sides in self.bound
        ]
        return tuple(
            Face(sides, tuple(atom for atom, k in number.items() if common >> k & 1))
            for sides, common in relation_faces(masks)
        )


def iterate(
    tree: xr.DataTree, top: int | None = None, degree: int | None = None
) -> Iterator[Relation]:
    """Iterate over relations lazily: there may be more than could ever be listed.

    Parameters
    ----------
    tree : DataTree
        A cause-effect structure, as ``iitdask.ces`` returns it.
    top : int, optional
        Only this many, those with the largest phi. Without it and without `degree`, all
        relations by decreasing phi.
    degree : int, optional
        Only relations between this many distinctions; without `top` in the order of the
        distinctions.

    Returns
    -------
    Iterator
        The relations, found while they are asked for.

    Raises
    ------
    InputError
        The tree has no distinctions node, or a number is not positive.
    """
    for name, value in (("top", top), ("degree", degree)):
        if value is not None and not (isinstance(value, int | np.integer) and value >= 1):
            raise InputError(f"{name}: expected a positive number, got {quote(value)}")
    if not isinstance(tree, xr.DataTree) or "distinctions" not in tree.children:
        raise InputError("tree: expected a cause-effect structure with a node 'distinctions'")
    if "relations" not in tree.children:
        raise InputError(f"tree: expected relations, {tree.attrs.get('theory')} defines none")
    return _iterate(tree["distinctions"].to_dataset(), top, degree)


def _iterate(data: xr.Dataset, top: int | None, degree: int | None) -> Iterator[Relation]:
    bindings, atoms = _bindings(data)
    names = [str(name) for name in data["mechanism"].values]
    if degree is not None and top is None:
        found = relations_by_degree(bindings, degree)
    else:
        found = islice(top_relations(bindings, degree), top)
    for relation in found:
        related = relation.distinctions
        masks = ((bindings.cause[d], bindings.effect[d]) for d in related)
        bound = tuple((_unit_states(c, atoms), _unit_states(e, atoms)) for c, e in masks)
        overlap = _unit_states(relation.overlap, atoms)
        yield Relation(tuple(names[d] for d in related), overlap, relation.phi, bound)


def relations_of_each(tree: xr.DataTree) -> list[int] | None:
    """Return in how many relations each distinction is; None where that is too much to count."""
    return _relations_of_each(_bindings(tree["distinctions"].to_dataset())[0])


def _unit_states(mask: int, atoms: list[tuple[str, int]]) -> UnitStates:
    return tuple(atom for bit, atom in enumerate(atoms) if mask >> bit & 1)


def _bindings(data: xr.Dataset) -> tuple[Bindings, list[tuple[str, int]]]:
    """Number the unit-states that occur, and each distinction's as bitmasks."""
    labels = [str(name) for name in data["unit"].values] if "unit" in data.coords else []
    states = np.stack([data[f"state_{side}"].values for side in ("cause", "effect")])
    levels, present = int(states.max(initial=0)) + 1, states >= 0
    codes = (np.arange(len(labels)) * levels + states)[present]
    known, first, which = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)  # numbered as they occur
    inside = np.zeros((*states.shape[:2], len(known)), bool)
    inside[(*np.nonzero(present)[:2], np.argsort(order)[which])] = True
    packed = np.packbits(inside, axis=-1, bitorder="little")
    masks = [tuple(int.from_bytes(row.tobytes(), "little") for row in side) for side in packed]
    atoms = [(labels[code // levels], code % levels) for code in known[order].tolist()]
    phi = np.asarray(data["phi"].values, float)
    return Bindings(phi, masks[0], masks[1]), atoms


PAIR_SIDES = ("cause", "effect", "both")


PAIR_KINDS = ("same", "includes", "included", "connected", "disjoint")


def pairs(tree: xr.DataTree, side: str = "both", order: Sequence[str] | None = None) -> xr.Dataset:
    """Say how the purviews of every two distinctions lie to one another.

    Parameters
    ----------
    tree : DataTree
        A cause-effect structure, as ``iitdask.ces`` returns it.
    side : {"both", "cause", "effect"}
        Purviews that are compared; of both, the units of either.
    order : sequence of str, optional
        Labels of all units of the system in the order along which directedness is taken; by
        default as they are in the result.

    Returns
    -------
    Dataset
        ``kind(mechanism, other)``: ``"same"``, ``"includes"`` (the other's units and more),
        ``"included"``, ``"connected"`` (some units in common, neither includes the other) or
        ``"disjoint"``; ``fusion(mechanism, other)``, the first distinction whose purview is the
        union of theirs where these are connected or disjoint, else empty; ``reflexive(mechanism)``,
        whether the purview is the mechanism; ``multiplicity(mechanism)``, how many distinctions
        have that purview; ``n_pairs(kind_name, size, other_size)``, how many pairs of different
        distinctions are of each kind, by the units of their mechanisms;
        ``directedness(mechanism, other)``, from -2 to 2: 1 where the effect purview of the one that
        comes first along `order` is included in that of the other, -1 where it includes it, less
        the same of the cause purviews; 0 where both are at the same place. The attribute
        ``directedness`` is its sum over all pairs.

    Raises
    ------
    InputError
        The tree has no distinctions node, there is no such side, or `order` is not one of its
        units.

    References
    ----------
    Haun and Tononi 2019, Entropy 21(12), 1160; mathematics.md 11.4.
    """
    if side not in PAIR_SIDES:
        raise InputError(f"side: expected one of {', '.join(PAIR_SIDES)}, got {quote(side)}")
    if "distinctions" not in tree.children:
        raise InputError("tree: expected a cause-effect structure with a node 'distinctions'")
    data = tree["distinctions"].to_dataset()
    chosen = PAIR_SIDES[:2] if side == "both" else (side,)
    inside = np.any([data[f"purview_{name}"].values for name in chosen], axis=0)
    own, names = data["mechanism_units"].values, data["mechanism"].values.astype(object)
    common = (inside[:, None] & inside[None]).sum(axis=2)
    size = inside.sum(axis=1)
    kind = np.full(common.shape, "connected", object)
    kind[common == 0] = "disjoint"
    kind[common == size[None, :]] = "includes"
    kind[common == size[:, None]] = "included"
    is_same = (common == size[:, None]) & (common == size[None, :])
    kind[is_same] = "same"
    first = {row.tobytes(): name for row, name in zip(inside[::-1], names[::-1], strict=True)}
    directed = _directedness(data, order)
    fusion = np.full(common.shape, "", object)
    for a, b in np.argwhere((kind == "connected") | (kind == "disjoint")).tolist():
        fusion[a, b] = first.get((inside[a] | inside[b]).tobytes(), "")
    return xr.Dataset(
        {
            "kind": (("mechanism", "other"), kind),
            "fusion": (("mechanism", "other"), fusion),
            "reflexive": ("mechanism", (inside == own).all(axis=1)),
            "multiplicity": ("mechanism", is_same.sum(axis=1)),
            "n_pairs": (("kind_name", "size", "other_size"), _counts_by_size(kind, own)),
            "directedness": (("mechanism", "other"), directed),
        },
        {
            "mechanism": names,
            "other": names,
            "kind_name": list(PAIR_KINDS),
            **{dim: np.arange(1, own.shape[1] + 1) for dim in ("size", "other_size")},
        },
        {"side": side, "directedness": int(directed.sum()) // 2},
    )


def _counts_by_size(kind: Any, own: Any) -> Any:
    """Count pairs of different distinctions, (kind, units of the one, units of the other)."""
    n, size = own.shape[1], own.sum(axis=1) - 1
    out = np.zeros((len(PAIR_KINDS), n, n), np.int64)
    for number, name in enumerate(PAIR_KINDS):
        one, other = np.nonzero((kind == name) & ~np.eye(len(own), dtype=bool))
        np.add.at(out[number], (size[one], size[other]), 1)
    return out


def _directedness(data: xr.Dataset, order: Sequence[str] | None) -> Any:
    """Return (D, D) how far effects include one another along an order, less causes."""
    labels = [str(name) for name in data["unit"].values]
    along = labels if order is None else [str(name) for name in order]
    if sorted(along) != sorted(labels):
        raise InputError(f"order: expected each of {', '.join(labels)} once, got {quote(order)}")
    own = data["mechanism_units"].values.astype(np.int64)
    total = own @ np.array([along.index(name) for name in labels], np.int64)
    count = own.sum(axis=1)  # a mechanism is at the mean place of its units: total / count
    ahead = np.sign(total[None] * count[:, None] - total[:, None] * count[None])
    inclusion = {}
    for side in PAIR_SIDES[:2]:
        inside = data[f"purview_{side}"].values.astype(np.int64)
        common, size = inside @ inside.T, inside.sum(axis=1)
        within, around = common == size[:, None], common == size[None]
        inclusion[side] = within.astype(np.int64) - around
    return ahead * (inclusion["effect"] - inclusion["cause"])
