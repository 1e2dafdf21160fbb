"""A recipe with everything the run floor must cope with, and nothing else."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from iitdask.theory.stage import Grid, Stage, StageRef, Variable

CODES = 64


def squares_ready(inputs):
    return np.log1p(inputs["table"])


def squares(table, region):
    side, code = region
    rows = np.arange(side.start, side.stop)[:, None]
    value = table[None, code] ** 2 - rows
    moments = np.stack([value, value**2, value**3], axis=-1)
    return {"value": value, "moments": moments, "odd": (value > 1) & (rows == 0)}


def slow_squares(table, region):
    time.sleep(0.05)
    return squares(table, region)


def pairs(inputs, region):
    source, target = region
    value = inputs["value"]
    product = value[0, source][:, None] * value[1, target][None, :] * inputs["weight"][0]
    return {"product": product, "rank": np.rint(np.abs(product)).astype("int64")}


def by_code(region):
    """Codes of many bits cost more; a few cost nothing."""
    side, code = region
    bits = sum(c.bit_count() for c in range(code.start, code.stop))
    return 0.01 * (side.stop - side.start) * bits


def by_cells(region):
    return 0.002 * float(np.prod([part.stop - part.start for part in region]))


def first_stage(compute=squares, version=1, scale=1.0):
    return Stage(
        name="squares",
        grid=Grid(("side", "code"), (2, CODES), power_of_two=("code",)),
        variables=(
            Variable("value", "float64", float("nan"), "bit", "Squared logarithm."),
            Variable("moments", "float64", 0.0, "bit", "Its powers.", (("moment", 3),)),
            Variable("odd", "bool", False, "", "Whether it is large."),
        ),
        compute=compute,
        inputs={"table": np.arange(CODES, dtype="float64") * scale},
        cost=by_code,
        prepare=squares_ready,
        version=version,
    )


def second_stage(count, compute=pairs, weight=0.5):
    return Stage(
        name="pairs",
        grid=Grid(("source", "target"), (count, 16), unsplit=("target",)),
        variables=(
            Variable("product", "float64", float("nan"), "bit", "A product."),
            Variable("rank", "int64", -1, "count", "The product, rounded."),
        ),
        compute=compute,
        inputs={"value": StageRef("squares", "value"), "weight": np.array([weight])},
        cost=by_cells,
    )


def toy(compute=squares, version=1, then=pairs, scale=1.0):
    (one,) = yield (first_stage(compute, version, scale),)
    count = int(one["odd"].values[0].sum())
    (two,) = yield (second_stage(count, then),)
    total = two["product"].sum("target")
    return xr.DataTree.from_dict(
        {"/": xr.Dataset({"total": total}), "/one": xr.Dataset(one), "/two": xr.Dataset(two)}
    )


def first_large(inputs, region):
    (part,) = region
    return {"x": np.arange(part.start, part.stop) * inputs["step"][0]}


def is_large(arrays):
    return bool((arrays["x"] >= 40).any())


def search_stage(step=1.0):
    return Stage(
        name="search",
        grid=Grid(("x",), (256,)),
        variables=(Variable("x", "float64", float("nan"), "", "The number."),),
        compute=first_large,
        inputs={"step": np.array([step])},
        cost=by_cells,
        until=is_large,
    )


def search():
    (found,) = yield (search_stage(),)
    return xr.DataTree.from_dict({"/": xr.Dataset(found)})


def failing(table, region):
    if region[0].start == 1 and region[1].start == 0:
        raise ZeroDivisionError("no such square")
    return squares(table, region)


def failing_once(table, region):
    mark = Path(os.environ["TOY_MARK"])
    if region[0].start == 1 and not mark.exists():
        mark.touch()
        raise OSError("a passing trouble")
    return squares(table, region)


def deadly(table, region):
    if region[0].start == 1 and region[1].start == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return squares(table, region)


def misshapen(table, region):
    return {**squares(table, region), "odd": np.zeros(3, bool)}


def renamed(stage, name):
    return replace(stage, name=name)
