"""Recipes so small that they are nothing but compilation: one for each share of the kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from iitdask.kernels.cause import cause_scan
from iitdask.kernels.mechanisms import TOGETHER, make_room
from iitdask.kernels.pairs import Tables, make_scratch
from iitdask.kernels.visits import prepare_effects
from iitdask.model.batch import Batch
from iitdask.model.pool import Pool
from iitdask.model.substrate import Substrate
from iitdask.model.system import System
from iitdask.model.transition import Transition
from iitdask.theory import iit3
from iitdask.theory.account import account
from iitdask.theory.base import Region, Stages
from iitdask.theory.complexes import complexes
from iitdask.theory.distinctions import PurviewOrder
from iitdask.theory.iit4 import ces, sia
from iitdask.theory.mechanisms import details_stage, mice_stage
from iitdask.theory.options import IIT3, IIT4, Causation2019
from iitdask.theory.points import Points, points_stage
from iitdask.theory.tables import marginals_stage

__all__ = ["REHEARSALS"]


def _pair() -> System:
    pair = Substrate.from_tpm([[0.1, 0.2], [0.7, 0.4], [0.6, 0.8], [0.9, 0.3]])
    return System.of(pair, "10")


def _whole() -> Stages:
    """A cause-effect structure, and the order of purviews where some tie: all there is."""
    system = _pair()
    PurviewOrder(system, "reference").sort(3, True, [1, 2])
    return ces(system, IIT4())


def _systems() -> Stages:
    """What precedes the search over purviews, the partitions of a system, then the search.

    In this order: the pairs it searches are in the cache by then, left there by another share.
    """
    system = _pair()
    yield (marginals_stage(system),)
    (phi, *_) = mice_stage(system).fills
    yield (replace(mice_stage(system), name="scan", fills=(phi,), compute=_scan),)
    yield from sia(system, IIT4())
    yield (mice_stage(system),)
    return xr.DataTree()


def _scan(prepared: tuple[Tables, Any], region: Region) -> Mapping[str, Any]:
    """The scan of the causes and the bounds of the effects, which a search begins with."""
    t, size, lanes = prepared[0], len(prepared[0].codes), 2
    room = make_room(size, size, int(t.offsets[-1]))
    vectors, bounds = np.empty((6, lanes)), np.empty((size, lanes))
    weights, states = np.zeros((size, lanes)), np.zeros((size, lanes), np.int64)
    cause_scan(t.cause, t.log_cause, t.offsets, 0, 1, vectors, bounds, weights, states)
    prepare_effects(t, make_scratch(t), 1, room)
    return {"phi": np.zeros([part.stop - part.start for part in region])}


def _pairs() -> Stages:
    """States and named partitions of one pair a side, the order of purviews that tie."""
    system = _pair()
    yield (marginals_stage(system),)
    yield (details_stage(system, np.array([[0, 3, 3], [1, 3, 3]]), (1, 1)),)
    PurviewOrder(system, "reference").sort(3, True, [1, 2])
    return xr.DataTree()


def _searches() -> Stages:
    """The search over purviews."""
    system = _pair()
    yield (marginals_stage(system),)
    yield (mice_stage(system),)
    return xr.DataTree()


def _large() -> Stages:
    """The search over purviews of the smallest system whose effects are bounded together."""
    n = TOGETHER
    noisy = [[[0.8, 0.2], [0.3, 0.7]], [[0.6, 0.4], [0.1, 0.9]]]
    ring = [([i, (i + 1) % n], noisy) for i in range(n)]
    system = System.of(Substrate.from_factors(ring), "0" * n)
    yield (marginals_stage(system),)
    yield (mice_stage(system),)
    return xr.DataTree()


def _concepts() -> Stages:
    """Concepts of IIT 3.0, their details and those of the system cut: all there is."""
    return iit3.ces(_pair(), IIT3())


def _cuts() -> Stages:
    """The cuts of IIT 3.0."""
    return iit3.sia(_pair(), IIT3())


def _account() -> Stages:
    """A causal account."""
    return account(Transition.of(_pair().substrate, "10", "11"), Causation2019())


def _candidates() -> Stages:
    """All candidates of a pair of units."""
    return complexes(Pool.of(_pair().substrate, "10"), IIT4())


def _complexes() -> Stages:
    """The candidates, and a structure as equal ones need it."""
    yield from _candidates()
    return (yield from _whole())


def _points(structures: bool) -> Stages:
    """One small system of a sweep."""
    one = np.zeros(1, np.int64)
    points = Points(Batch.of([_pair().substrate]), one, one + 1, one + 3, one)
    yield (points_stage("points", points, structures),)
    return xr.DataTree()


REHEARSALS: Mapping[str, tuple[Callable[[], Stages], ...]] = {
    "iit4": (_whole, _systems, _pairs),
    "iit4-large": (_large, _large),
    "iit3": (_concepts, _cuts),
    "complexes": (_complexes, _candidates, _systems, _pairs),
    "causation2019": (_account, _account),
    "sweep-sia": (partial(_points, False), partial(_points, False)),
    "sweep-ces": (partial(_points, True), partial(_points, False), _searches),
}
"""By family: the recipe that needs every kernel, then shares of it that take equally long, the
longest first: it begins while other processes still start."""
