"""Boolean models of gene networks as their papers state them, rings of cells, and a grid.

Every model is a dictionary of units in order; a rule says whether a unit is on at the next step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np

import iitdask as iit

Rule = tuple[Sequence[str], Callable[..., bool]]  # Inputs, and what the unit does with them
Weights = Mapping[str, int]


def boolean_network(rules: Mapping[str, Rule]) -> iit.Substrate:
    """Return a substrate of deterministic units."""
    place = {name: k for k, name in enumerate(rules)}
    factors = []
    for names, rule in rules.values():
        inputs = sorted(place[name] for name in names)
        order = [inputs.index(place[name]) for name in names]
        table = np.empty((2,) * len(inputs) + (2,))
        for values in product((0, 1), repeat=len(inputs)):
            on = bool(rule(*(values[k] for k in order)))
            table[values] = (not on, on)
        factors.append((inputs, table))
    return iit.Substrate.from_factors(factors, labels=list(rules), connectivity="inferred")


def threshold_rule(name: str, weights: Weights, threshold: float, decays: bool) -> Rule:
    """Return a unit that is on above a threshold, off below, and at it as before, or off."""
    names = [*weights, *([] if decays or name in weights else [name])]

    def on(*values: int) -> bool:
        total = sum(weights.get(each, 0) * value for each, value in zip(names, values, strict=True))
        if total == threshold and not decays:
            return bool(values[names.index(name)])
        return total > threshold

    return names, on


def budding_yeast() -> iit.Substrate:
    """Cell cycle of budding yeast, 11 units: Li et al. 2004, PNAS 101, 4781, figure 1."""
    decaying = ("Cln3", "Cln12", "Swi5", "Cdc20", "Mcm1")
    weights: dict[str, Weights] = {
        "Cln3": {},
        "MBF": {"Cln3": 1, "Clb12": -1},
        "SBF": {"Cln3": 1, "Clb12": -1},
        "Cln12": {"SBF": 1},
        "Cdh1": {"Cln12": -1, "Clb56": -1, "Clb12": -1, "Cdc20": 1},
        "Swi5": {"Cdc20": 1, "Mcm1": 1, "Clb12": -1},
        "Cdc20": {"Clb12": 1, "Mcm1": 1},
        "Clb56": {"MBF": 1, "Sic1": -1, "Cdc20": -1},
        "Sic1": {"Cln12": -1, "Clb56": -1, "Clb12": -1, "Swi5": 1, "Cdc20": 1},
        "Clb12": {"Clb56": 1, "Mcm1": 1, "Cdh1": -1, "Cdc20": -1, "Sic1": -1},
        "Mcm1": {"Clb12": 1, "Clb56": 1},
    }
    return boolean_network(
        {name: threshold_rule(name, w, 0, name in decaying) for name, w in weights.items()}
    )


def fission_yeast() -> iit.Substrate:
    """Cell cycle of fission yeast, 10 units: Davidich and Bornholdt 2008, PLoS ONE 3, e1672."""
    decaying = ("Start", "SK", "Slp1", "PP")
    weights: dict[str, Weights] = {
        "Start": {},
        "SK": {"Start": 1},
        "Cdc2": {"Ste9": -1, "Rum1": -1, "Slp1": -1},
        "Ste9": {"SK": -1, "Cdc2": -1, "Cdc2s": -1, "PP": 1},
        "Rum1": {"SK": -1, "Cdc2": -1, "Cdc2s": -1, "PP": 1},
        "Slp1": {"Cdc2s": 1},
        "Cdc2s": {"Ste9": -1, "Rum1": -1, "Slp1": -1, "Wee1": -1, "Cdc25": 1},
        "Wee1": {"Cdc2": -1, "PP": 1},
        "Cdc25": {"Cdc2": 1, "PP": -1},
        "PP": {"Slp1": 1},
    }
    thresholds = {"Cdc2": -0.5, "Cdc2s": 0.5}
    return boolean_network(
        {
            name: threshold_rule(name, w, thresholds.get(name, 0), name in decaying)
            for name, w in weights.items()
        }
    )


def mammalian() -> iit.Substrate:
    """Cell cycle of mammals, 10 units: Faure et al. 2006, Bioinformatics 22, e124, table 1."""
    return boolean_network(
        {
            "CycD": (("CycD",), lambda d: d),
            "Rb": (
                ("CycD", "CycE", "CycA", "p27", "CycB"),
                lambda d, e, a, p, b: not d and not b and ((not e and not a) or p),
            ),
            "E2F": (
                ("Rb", "CycA", "p27", "CycB"),
                lambda rb, a, p, b: not rb and not b and (not a or p),
            ),
            "CycE": (("E2F", "Rb"), lambda e2f, rb: e2f and not rb),
            "CycA": (
                ("Rb", "E2F", "CycA", "Cdc20", "Cdh1", "UbcH10"),
                lambda rb, e2f, a, c20, h1, u: not rb and not c20 and not (h1 and u) and (e2f or a),
            ),
            "p27": (
                ("CycD", "CycE", "CycA", "p27", "CycB"),
                lambda d, e, a, p, b: (
                    not d and not b and ((not e and not a) or (p and not (e and a)))
                ),
            ),
            "Cdc20": (("CycB",), lambda b: b),
            "Cdh1": (
                ("CycA", "p27", "Cdc20", "CycB"),
                lambda a, p, c20, b: (not a and not b) or c20 or (p and not b),
            ),
            "UbcH10": (
                ("CycA", "Cdc20", "Cdh1", "UbcH10", "CycB"),
                lambda a, c20, h1, u, b: not h1 or (u and (c20 or a or b)),
            ),
            "CycB": (("Cdc20", "Cdh1"), lambda c20, h1: not c20 and not h1),
        }
    )


def leukemia() -> iit.Substrate:
    """Survival of T cells in large granular lymphocyte leukemia, 18 units: Saadatpour et al. 2011.

    PLoS Comput. Biol. 7, e1002267: the subnetwork to which the 60 units of Zhang et al. 2008,
    PNAS 105, 16308, reduce once the units that settle are left out. Apoptosis turns every
    other unit off.
    """
    rules: dict[str, Rule] = {
        "CTLA4": (("TCR",), lambda tcr: tcr),
        "TCR": (("CTLA4",), lambda ctla4: not ctla4),
        "CREB": (("IFNG",), lambda ifng: ifng),
        "IFNG": (("SMAD", "P2"), lambda smad, p2: not smad and not p2),
        "P2": (("IFNG", "P2"), lambda ifng, p2: ifng or p2),
        "GPCR": (("S1P",), lambda s1p: s1p),
        "SMAD": (("GPCR",), lambda gpcr: gpcr),
        "Fas": (("sFas",), lambda sfas: not sfas),
        "sFas": (("S1P",), lambda s1p: s1p),
        "Ceramide": (("Fas", "S1P"), lambda fas, s1p: fas and not s1p),
        "DISC": (
            ("Ceramide", "Fas", "FLIP"),
            lambda ceramide, fas, flip: ceramide or (fas and not flip),
        ),
        "Caspase": (("BID", "IAP", "DISC"), lambda bid, iap, disc: (bid and not iap) or disc),
        "FLIP": (("DISC",), lambda disc: not disc),
        "BID": (("MCL1",), lambda mcl1: not mcl1),
        "IAP": (("BID",), lambda bid: not bid),
        "MCL1": (("DISC",), lambda disc: not disc),
        "S1P": (("Ceramide",), lambda ceramide: not ceramide),
    }

    def while_alive(rule: Callable[..., bool]) -> Callable[..., bool]:
        return lambda *values: bool(rule(*values[:-1])) and not values[-1]

    living = {k: ((*names, "Apoptosis"), while_alive(rule)) for k, (names, rule) in rules.items()}
    apoptosis = (("Caspase", "Apoptosis"), lambda caspase, apoptosis: caspase or apoptosis)
    return boolean_network({**living, "Apoptosis": apoptosis})


def segment_polarity(cells: int = 4) -> iit.Substrate:
    """Segment polarity genes of a ring of cells, 15 units in each: Albert and Othmer 2003.

    J. Theor. Biol. 223, 1, table 1. Every rule takes one step; in the paper those of PH and SMO
    take none.
    """
    rules: dict[str, Rule] = {}
    for k in range(1, cells + 1):
        before, after = (k - 2) % cells + 1, k % cells + 1
        hedgehog, gene = (f"HH{before}", f"HH{after}"), (f"hh{before}", f"hh{after}")
        rules |= {
            f"SLP{k}": ((f"SLP{k}",), lambda slp: slp),
            f"wg{k}": (
                (f"CIA{k}", f"SLP{k}", f"CIR{k}", f"wg{k}"),
                lambda cia, slp, cir, wg: not cir and ((cia and slp) or (wg and (cia or slp))),
            ),
            f"WG{k}": ((f"wg{k}",), lambda wg: wg),
            f"en{k}": (
                (f"WG{before}", f"WG{after}", f"SLP{k}"),
                lambda a, b, slp: (a or b) and not slp,
            ),
            f"EN{k}": ((f"en{k}",), lambda en: en),
            f"hh{k}": ((f"EN{k}", f"CIR{k}"), lambda en, cir: en and not cir),
            f"HH{k}": ((f"hh{k}",), lambda hh: hh),
            f"ptc{k}": (
                (f"CIA{k}", f"EN{k}", f"CIR{k}"),
                lambda cia, en, cir: cia and not en and not cir,
            ),
            f"PTC{k}": (
                (f"ptc{k}", f"PTC{k}", *hedgehog),
                lambda gene, protein, a, b: gene or (protein and not a and not b),
            ),
            f"PH{k}": ((f"PTC{k}", *hedgehog), lambda ptc, a, b: ptc and (a or b)),
            f"SMO{k}": ((f"PTC{k}", *hedgehog), lambda ptc, a, b: not ptc or a or b),
            f"ci{k}": ((f"EN{k}",), lambda en: not en),
            f"CI{k}": ((f"ci{k}",), lambda ci: ci),
            f"CIA{k}": (
                (f"CI{k}", f"SMO{k}", *gene),
                lambda ci, smo, a, b: ci and (smo or a or b),
            ),
            f"CIR{k}": (
                (f"CI{k}", f"SMO{k}", *gene),
                lambda ci, smo, a, b: ci and not smo and not a and not b,
            ),
        }
    return boolean_network(rules)


def automaton(rule: int, n: int) -> iit.Substrate:
    """Return a ring of cells under an elementary rule, by Wolfram's number."""
    cells = [f"c{k:02d}" for k in range(n)]
    return boolean_network(
        {
            cell: (
                (cells[k - 1], cell, cells[(k + 1) % n]),
                lambda a, b, c: bool(rule >> (4 * a + 2 * b + c) & 1),
            )
            for k, cell in enumerate(cells)
        }
    )


def grid(rows: int, columns: int, slope: float = 2.0) -> iit.Substrate:
    """Return a grid of units, each drawn to the state of most of its neighbours."""
    n = rows * columns
    weights = np.zeros((n, n))
    for k in range(n):
        row, column = divmod(k, columns)
        for r, c in ((row, column), (row, column - 1), (row - 1, column)):
            if r >= 0 and c >= 0:
                weights[r * columns + c, k] = weights[k, r * columns + c] = 1.0
    return iit.Substrate.from_weights(weights, activation="ising", slope=slope)
