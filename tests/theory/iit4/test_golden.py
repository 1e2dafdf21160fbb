"""The reference implementation's numbers, file by file; see tests/golden/README.md."""

import json
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import iitdask as iit
from iitdask.kernels.iit4.system_partition import set_partition_minima, source_minima
from iitdask.kernels.iit4.system_witness import inputs_severed_by_key, optimal_partitions
from iitdask.kernels.subsets import hash_set_order, nonempty_masks_by_size, popcounts

FOLDER = Path(__file__).parents[2] / "golden"
FILES = sorted(path.stem for path in FOLDER.glob("iit4_*.json"))
CURRENT = {"name": "iit4-2026", "differentiation": "current"}  # as the reference reads the paper
THEORIES = {"iit4_2023": "iit4", "iit4_2026": CURRENT}
TOLERANCE = 1e-9


@cache
def golden(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


STRUCTURES = [name for name in FILES if "raw_distinctions" in golden(name)]


def substrate_of(data):
    levels = data["alphabet"]
    if data["tpm_format"] == "state_by_node":
        return iit.Substrate.from_tpm(np.array(data["tpm"], float), data["cm"])
    factors = [
        np.array(rows, float).reshape((*levels, k), order="F")
        for rows, k in zip(data["tpm"], levels, strict=True)
    ]
    return iit.Substrate.from_tpm(factors, data["cm"])


def tuples(nested):
    return tuple(map(tuples, nested)) if isinstance(nested, list) else nested


def arguments(data):
    return substrate_of(data), data["state"], data["subset"], THEORIES[data["theory"]]


class Differences(list):
    """What does not agree, in words."""

    def number(self, what, ours, theirs):
        ours = float(ours)
        if not abs(ours - theirs) <= TOLERANCE * max(1.0, abs(theirs)):
            self.append(f"{what}: {ours!r}, expected {theirs!r}")

    def same(self, what, ours, theirs):
        if ours != theirs:
            self.append(f"{what}: {ours!r}, expected {theirs!r}")

    def member(self, what, ours, theirs):
        if ours not in theirs:
            self.append(f"{what}: {ours!r}, expected one of {theirs!r}")


def compare_system(ours, data, theirs):
    """Phi, states and partition."""
    found, units = Differences(), data["subset"]
    for name in ("phi", "normalized_phi"):
        found.number(name, ours[name], theirs[name])
    for side in ("cause", "effect"):
        if theirs.get(f"{side}_ii") is not None:
            found.number(f"{side} ii", ours[f"intrinsic_information_{side}"], theirs[f"{side}_ii"])
        if theirs.get(f"{side}_state") is not None:
            found.same(
                f"{side} state", ours[f"{side}_state"].values.tolist(), theirs[f"{side}_state"]
            )
        if side in theirs.get("differentiation", {}):
            expected = theirs["differentiation"][side]
            found.number(f"d {side}", ours[f"differentiation_{side}"], expected)
    if theirs["null"]:
        found.same("reasons", ours.attrs["reasons"].split(), theirs.get("reasons", []))
        found.same("cut", bool(ours["cut"].values.any()), False)
        return found
    severed = [[units[a], units[b]] for a, b in np.argwhere(ours["cut"].values)]
    number = theirs.get("num_tied_partitions")
    listed = theirs.get("tied_partitions", [])
    if number is not None and number == len(listed):
        found.member("cut", severed, listed)
    if number is not None and theirs["phi"] > 1e-12:
        found.same("tied partitions", int(ours["n_tied_partitions"]), number)
    if severed == theirs["partition"] and theirs["phi"] > 1e-12:
        for side in ("cause", "effect"):
            if theirs.get(f"{side}_phi") is not None:
                found.number(f"phi {side}", ours[f"phi_{side}"], theirs[f"{side}_phi"])
    return found


def severed_pairs(row, side, units):
    """(mechanism unit, purview unit) pairs that a partition separates."""
    kept = row[f"kept_{side}"].values
    mechanism = np.flatnonzero(row["mechanism_units"].values)
    purview = np.flatnonzero(row[f"purview_{side}"].values)
    keeps = (lambda m, z: kept[m] >> z & 1) if side == "cause" else (lambda m, z: kept[z] >> m & 1)
    return sorted([units[m], units[z]] for m in mechanism for z in purview if not keeps(m, z))


def compare_side(found, where, row, side, theirs, units, fragile):
    """Purview, state, numbers, ties and partition of a cause or effect."""
    inside = np.flatnonzero(row[f"purview_{side}"].values)
    ours = [units[i] for i in inside], row[f"state_{side}"].values[inside].tolist()
    only = [theirs["purview"], theirs["state"]]
    found.member(
        f"{where} purview", list(ours), theirs.get("purview_ties", [only]) if fragile else [only]
    )
    found.number(f"{where} phi", row[f"phi_{side}"], theirs["phi"])
    if "ii" in theirs:
        found.number(f"{where} ii", row[f"intrinsic_information_{side}"], theirs["ii"])
    if "ii" not in theirs or fragile:
        return
    purviews, states = theirs.get("purview_ties", [only]), theirs.get("state_ties", [only[1]])
    found.same(f"{where} tied purviews", int(row[f"n_tied_purviews_{side}"]), len(purviews))
    found.same(f"{where} tied states", int(row[f"n_tied_states_{side}"]), len(states))
    if "num_tied_cuts" in theirs and theirs["num_tied_cuts"] == len(theirs["tied_partition_cuts"]):
        cut = severed_pairs(row, side, units)
        found.member(f"{where} cut", cut, [sorted(c) for c in theirs["tied_partition_cuts"]])


def compare_structure(tree, data, theirs):
    """Distinctions, relations and Phi."""
    found, units = Differences(), data["subset"]
    fragile = {(side, tuple(m)) for side, m, *_ in data.get("fp_fragile", ())}
    ours = tree["distinctions"].to_dataset()
    mechanisms = [[units[i] for i in np.flatnonzero(m)] for m in ours["mechanism_units"].values]
    expected = {tuple(d["mechanism"]): d for d in theirs["distinctions"]}
    found.same("mechanisms", sorted(map(tuple, mechanisms)), sorted(expected))
    for k, mechanism in enumerate(mechanisms):
        row, one = ours.isel(mechanism=k), expected.get(tuple(mechanism))
        if one is None:
            continue
        found.number(f"{mechanism} phi", row["phi"], one["phi"])
        for side in ("cause", "effect"):
            at_risk = (side, tuple(mechanism)) in fragile
            compare_side(found, f"{mechanism} {side}", row, side, one[side], units, at_risk)
    if "raw_distinctions" in theirs:
        found.same(
            "mechanisms", tree.attrs["n_irreducible_mechanisms"], len(theirs["raw_distinctions"])
        )
    compare_relations(found, tree, theirs)
    return found


def compare_relations(found, tree, theirs):
    found.number("sum phi_d", tree.attrs["sum_phi_distinctions"], theirs["sum_phi_distinctions"])
    found.number("sum phi_r", tree.attrs["sum_phi_relations"], theirs["relations"]["sum_phi"])
    found.number("Phi", tree.attrs["big_phi"], theirs["big_phi"])
    node, relations = tree["relations"], theirs["relations"]
    found.number("sum phi_r", node["sum_phi"], relations["sum_phi"])
    found.same("relations", node.attrs["count"], str(relations["num"]))
    counts = {
        int(k): int(v)
        for k, v in zip(node["degree"].values, node["count_by_degree"].values, strict=True)
        if v
    }
    found.same("relations by degree", sum(counts.values()), relations["num"])
    if relations.get("by_degree"):
        expected = {int(k): row[0] for k, row in relations["by_degree"].items()}
        found.same("relations by degree", counts, expected)
    if "num_self" in relations:
        found.same("self-relations", counts.get(1, 0), relations["num_self"])


def alternative(data):
    """Values that an engine with a tolerance for ties gets: system, and structure if given."""
    other = data.get("tolerant_alternative")
    return [] if other is None else [other]


def explained(compare, ours, data, key):
    """No difference from the golden values, or none from the alternative to them."""
    first = compare(ours, data, data[key] if key else data)
    for other in alternative(data):
        if first and not (key is None and "big_phi" not in other):
            first = compare(ours, data, other)
    return first


@pytest.mark.parametrize("name", FILES)
def test_sia__equals_the_reference(name):
    data = golden(name)
    assert not explained(compare_system, iit.sia(*arguments(data)), data, "sia")


@pytest.mark.parametrize("search", ["auto", pytest.param("sparse", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", STRUCTURES)
def test_ces__equals_the_reference(name, search):
    data = golden(name)
    *given, theory = arguments(data)
    options = {"name": theory} if isinstance(theory, str) else theory
    tree = iit.ces(*given, {**options, "search": search})
    assert not explained(compare_system, tree["system"].to_dataset(), data, "sia")
    assert not explained(compare_structure, tree, data, None)
    if "resolution_state" in data and "tolerant_alternative" not in data:
        for side in ("cause", "effect"):
            states = tree["system"][f"{side}_state"].values.tolist()
            assert states == data["resolution_state"][side]


def test_files__are_all_here():
    assert len(FILES) == 255
    assert len(STRUCTURES) == 147
    assert sum("tolerant_alternative" in golden(name) for name in FILES) == 4


ORDERS = json.loads((FOLDER / "enumeration_orders.json").read_text())


@pytest.mark.parametrize("units", ORDERS["purview_set_order_all_subsets"])
def test_set_order__is_the_published_one(units):
    n = int(units)
    children = np.full(n, (1 << n) - 1, np.int64)
    masks = hash_set_order((1 << n) - 1, nonempty_masks_by_size(n), children, True).tolist()
    expected = [sum(1 << i for i in z) for z in ORDERS["purview_set_order_all_subsets"][units]]
    assert masks == expected


def zero_cost_partitions(n, pairs_cost):
    """Optimum where every severed pair costs the same."""
    lost = popcounts(n).astype(float)
    costs = np.tile(pairs_cost * lost, (n, 1))
    return optimum(costs, pairs_cost)[1:]


def optimum(costs, ratio):
    """Least cost less ratio per pair, and the partitions that attain it, with every O searched."""
    size = costs.shape[1]
    whole, minima = set_partition_minima(costs, ratio), np.empty(size)
    source_minima(costs, ratio, whole, np.ones(size, bool), 0, size, minima)
    return minima.min(), *optimal_partitions(costs, ratio, whole, 1e-9, minima)


@pytest.mark.parametrize("units", [n for n in ORDERS["directed_set_partitions"] if int(n) > 1])
def test_directed_partitions__the_one_named_severs_most_and_all_of_those_are_counted(units):
    n, listed = int(units), ORDERS["directed_set_partitions"][units]
    most = max(p["n_cut"] for p in listed)
    count, ways, key = zero_cost_partitions(n, 1.0)
    lost = inputs_severed_by_key(key, n)
    severed = [[a, b] for a in range(n) for b in range(n) if lost[b] >> a & 1]
    attained = sorted(sorted(p["edges"]) for p in listed if p["n_cut"] == most)
    assert (count, ways) == (most, len(attained))
    assert severed == attained[0]


@pytest.mark.parametrize("units", [n for n in ORDERS["directed_set_partitions"] if int(n) > 1])
def test_directed_partitions__each_is_found_where_only_its_pairs_are_free(units):
    n = int(units)
    for partition in ORDERS["directed_set_partitions"][units]:
        free = {tuple(edge) for edge in partition["edges"]}
        costs = np.zeros((n, 1 << n))
        for i in range(n):
            for cut in range(1 << n):
                priced = [a for a in range(n) if cut >> a & 1 and a != i]
                costs[i, cut] = sum(-1.0 if (a, i) in free else 1.0 for a in priced)
        least, count, ways, _ = optimum(costs, 0.0)
        assert (least, count, ways) == (-len(free), len(free), 1)


def test_directed_partitions__are_as_many_as_published():
    for units, listed in ORDERS["directed_set_partitions"].items():
        assert len({json.dumps(sorted(p["edges"])) for p in listed}) == len(listed)
        assert len(listed) == ORDERS["directed_set_partition_count"][units]


def faces_of(relation):
    """Sides and overlap of every face, from what causes and effects bind."""
    bound = [[frozenset(side) for side in sides] for sides in relation.bound]
    if len(bound) == 1:
        return [(("both",), bound[0][0] & bound[0][1])]
    found = []
    for sides in product(("cause", "effect", "both"), repeat=len(bound)):
        chosen = []
        for side, (cause, effect) in zip(sides, bound, strict=True):
            chosen += [cause] * (side != "effect") + [effect] * (side != "cause")
        if common := frozenset.intersection(*chosen):
            found.append((sides, common))
    return found


LISTED = [name for name in STRUCTURES if 0 < len(golden(name)["relations"].get("list", ())) < 100]


@pytest.mark.parametrize("name", LISTED)
def test_faces__are_as_many_as_in_the_reference_and_as_listed(name):
    data = golden(name)
    if not data["oracle_agrees"]:
        return
    every = list(iit.relations.iterate(iit.ces(*arguments(data))))
    assert sum(len(relation.faces) for relation in every) == data["relations"]["num_faces"]
    for relation in every[:40]:
        ours = [(face.sides, frozenset(face.overlap)) for face in relation.faces]
        assert ours == faces_of(relation)


def broken_bounds(data):
    """What exceeds the bounds of mathematics.md, Eq. (41.2) and (41.3), of binary units."""
    n, bad, slack = len(data["subset"]), [], 1 + 1e-9
    sia = data["sia"]
    if n > 1 and sia["phi"] > n * (n - 1) * slack:
        bad.append("phi_s")
    if sia["partition"] and sia["phi"] > len(sia["partition"]) * slack:
        bad.append("phi_s over its partition")
    found = data.get("distinctions", [])
    for each in [*found, *data.get("raw_distinctions", [])]:
        for side in ("cause", "effect"):
            units = len(each["mechanism"]) * len(each[side]["purview"])
            if each[side]["phi"] > units * slack or each["phi"] > units * slack:
                bad.append(f"phi_d of {each['mechanism']}")
    if len(found) > 2**n - 1 or sum(d["phi"] for d in found) > n**2 * 2**n / 2 * slack:
        bad.append("sum of phi_d")
    phi = {tuple(d["mechanism"]): d["phi"] for d in found}
    relations = data.get("relations", {})
    for mechanisms, *_, phi_r, _ in relations.get("list") or []:  # some without the overlap
        if phi_r > min(phi[tuple(m)] for m in mechanisms) * slack:
            bad.append(f"phi_r of {mechanisms}")
    if relations.get("num", 0) - relations.get("num_self", 0) > 2 ** (2**n - 1) - 1:
        bad.append("number of relations")
    return bad


BINARY = [name for name in FILES if set(golden(name)["alphabet"]) == {2}]


@pytest.mark.parametrize("name", BINARY)
def test_bounds__hold(name):
    assert broken_bounds(golden(name)) == []


def test_bounds__are_noticed_where_one_does_not_hold():
    data = json.loads(json.dumps(golden("iit4_2023__pub_xor")))
    assert broken_bounds(data) == []
    data["sia"]["phi"] = 6.1
    data["distinctions"][0]["phi"] = 4.1
    data["relations"]["list"][0][2] = 50.0
    assert len(broken_bounds(data)) >= 4
