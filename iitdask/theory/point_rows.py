"""Points of a sweep as rows of one stage: each is computed whole by the process that has its block.

For points that take seconds: too long for the kernels that take many small systems at once, too
short to be divided between processes. Neither stages nor a recipe are kept of each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from iitdask.errors import IITError, StateError, UnreachableStateError
from iitdask.model.substrate import Substrate
from iitdask.model.substrate_arrays import substrate_arrays, substrate_from_arrays
from iitdask.model.system import Target
from iitdask.model.unit import Unit
from iitdask.theory.catalog import (
    build_recipe,
    get_computation,
    target_from_fields,
    theory_options,
)
from iitdask.theory.options import Theory, recorded_options
from iitdask.theory.reasons import Reason
from iitdask.theory.stage import (
    Array,
    CumulativeCost,
    Grid,
    Recipe,
    Region,
    Stage,
    compute_steps,
    scoped,
)
from iitdask.theory.variables import variable

PENDING, DONE, UNREACHABLE, FAILED = 0, 1, 2, 3  # Status of a point
MAX_ROW_SECONDS = 10.0  # Predicted, of a point that is a row; longer ones are divided into blocks
ROW_BYTES = 128 * 2**20  # Bytes that one point takes beside what is stored
MESSAGE_BYTES = 400  # Of the text that says why a point has no numbers


@dataclass(frozen=True, slots=True, eq=False)
class LargeProblem:
    """A point that is computed by a recipe of its own."""

    key: str  # Digest of everything that decides its numbers, hexadecimal
    substrate: Substrate
    fields: Mapping[str, Any]  # Fields of the target
    options: Theory
    compute: str
    # Predicted seconds if that is all that is known to be needed; inf where it is to be divided
    seconds: float = np.inf

    @property
    def is_row(self) -> bool:
        """Whether one process computes it whole, as a row of a stage."""
        return self.seconds <= MAX_ROW_SECONDS


# Receives the result of a large problem
OnResult = Callable[[LargeProblem, Target, xr.DataTree], None]


def problem_recipe(problem: LargeProblem, on_result: OnResult | None = None) -> Recipe:
    """Run the recipe of one point; an error becomes its result."""
    try:
        target = target_from_fields(problem.compute, problem.substrate, problem.fields, "point")
        steps = build_recipe(problem.compute, target, problem.options)
        tree = yield from scoped(f"points/{problem.key}", steps)
    except UnreachableStateError as error:
        return _failed(UNREACHABLE, error)
    except (StateError, IITError) as error:
        return _failed(FAILED, error)
    if on_result is not None:
        on_result(problem, target, tree)
    return tree


def _failed(status: int, error: Exception) -> xr.DataTree:
    message = " ".join(str(error).split()).removeprefix("point: ")
    return xr.DataTree(xr.Dataset(attrs={"status": status, "message": message}))


def read_outcomes(compute: str, tree: xr.DataTree) -> dict[str, Any]:
    """Return status, message, reason and, of a point that is done, its outcomes by name."""
    if "status" in tree.attrs:
        return {"status": tree.attrs["status"], "message": tree.attrs["message"], "reason": ""}
    values = {outcome.name: outcome.value(tree) for outcome in get_computation(compute).outcomes}
    has_reason = "system" in tree.children
    reason = str(tree["system"].attrs.get("reasons", "")) if has_reason else ""
    return {**values, "status": DONE, "message": "", "reason": reason}


def row_inputs(numbers: Sequence[int], problems: Sequence[LargeProblem]) -> dict[str, Array]:
    """Return the inputs of a stage of points: all that decides their numbers.

    Parameters
    ----------
    numbers : of each point, which of those it is that became part of the sweep with it
    problems : (P,) points of one computation
    """
    substrates: dict[int, int] = {}
    theories: dict[str, int] = {}
    tables, documents, points = [], [], []
    for number, problem in zip(numbers, problems, strict=True):
        if id(problem.substrate) not in substrates:
            substrates[id(problem.substrate)] = len(substrates)
            flat, document = substrate_arrays(problem.substrate)
            tables.append(flat)
            documents.append({**document, "size": len(flat)})
        theory = theories.setdefault(json.dumps(recorded_options(problem.options)), len(theories))
        fields = dict(problem.fields)
        points.append([number, substrates[id(problem.substrate)], theory, problem.key, fields])
    content = {
        "compute": problems[0].compute,
        "theories": [json.loads(theory) for theory in theories],
        "substrates": documents,
        "points": points,
    }
    text = json.dumps(content, default=plain_value).encode()
    return {
        "tables": np.concatenate(tables),
        "content": np.frombuffer(text, np.uint8).copy(),
    }


def plain_value(value: Any) -> Any:
    """Return a value of NumPy or a macro unit as JSON can hold it; TypeError for others."""
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, Unit):
        return value.to_dict()
    raise TypeError(f"no plain value: {value!r}")


@dataclass(frozen=True, eq=False)
class PointRows:
    """The points of a stage, read from its inputs."""

    compute: str
    numbers: Array  # (P,) int64, see `row_inputs`
    content: Mapping[str, Any]
    tables: Array  # Of all substrates, one after the other

    @classmethod
    def from_inputs(cls, inputs: Mapping[str, Array]) -> PointRows:
        """Read what `row_inputs` returned."""
        content = json.loads(inputs["content"].tobytes())
        numbers = np.array([point[0] for point in content["points"]], np.int64)
        return cls(content["compute"], numbers, content, inputs["tables"])

    def problems(self, rows: range) -> Iterator[LargeProblem]:
        """Yield the problems of a range of points."""
        theories = [theory_options(given) for given in self.content["theories"]]
        documents, made = self.content["substrates"], dict[int, Substrate]()
        ends = np.cumsum([document["size"] for document in documents]).tolist()
        for row in rows:
            _, number, theory, key, fields = self.content["points"][row]
            if number not in made:
                document = documents[number]
                flat = self.tables[ends[number] - document["size"] : ends[number]]
                made = {number: substrate_from_arrays(flat, document)}
            yield LargeProblem(key, made[number], fields, theories[theory], self.compute)


def rows_stage(name: str, compute: str, inputs: Mapping[str, Array], seconds: Array) -> Stage:
    """Return the stage over points of one computation.

    Parameters
    ----------
    name, compute : of the stage, and the computation
    inputs : what `row_inputs` returned
    seconds : (P,) predicted seconds of each point
    """
    quantities, counts = _split_outcomes(compute)
    axes = (("quantity", len(quantities)),), (("count", 2 + len(counts)),)
    return Stage(
        name=name,
        grid=Grid(("point",), (len(seconds),)),
        variables=(
            variable("value", "float64", np.nan, axes[0]),
            variable("number", "int64", -1, axes[1]),
            variable("why", "uint8", 0, (("byte", MESSAGE_BYTES),)),
        ),
        compute=fill_rows,
        prepare=PointRows.from_inputs,
        inputs=inputs,
        cost=CumulativeCost.from_seconds(seconds),
        scratch=ROW_BYTES,
    )


def _split_outcomes(compute: str) -> tuple[list[str], list[str]]:
    """Return the names of outcomes that are quantities, and of those that are counts."""
    outcomes = get_computation(compute).outcomes
    counts = [each.name for each in outcomes if each.unit == "count"]
    return [each.name for each in outcomes if each.unit != "count"], counts


def fill_rows(rows: PointRows, region: Region) -> dict[str, Array]:
    """Compute a range of points, one after the other."""
    count = region[0].stop - region[0].start
    quantities, counts = _split_outcomes(rows.compute)
    values = np.full((count, len(quantities)), np.nan)
    numbers = np.full((count, 2 + len(counts)), -1)
    texts = np.zeros((count, MESSAGE_BYTES), np.uint8)
    for i, problem in enumerate(rows.problems(range(region[0].start, region[0].stop))):
        found = read_outcomes(rows.compute, compute_steps(problem_recipe(problem)))
        numbers[i, 0] = found["status"]
        numbers[i, 1] = sum(Reason[name] for name in found["reason"].split())
        said = found["message"].encode()[:MESSAGE_BYTES].decode(errors="ignore").encode()
        texts[i, : len(said)] = np.frombuffer(said, np.uint8)
        if found["status"] == DONE:
            values[i] = [found[name] for name in quantities]
            numbers[i, 2:] = [found[name] for name in counts]
    return {"value": values, "number": numbers, "why": texts}


def store_rows(
    outcomes: Mapping[str, Array], compute: str, numbers: Array, arrays: Mapping[str, Array]
) -> None:
    """Put what a stage of points holds into the outcomes of (B,) numbered points.

    Outcomes of points that are not done keep what says that there is none.
    """
    quantities, counts = _split_outcomes(compute)
    status, reason = arrays["number"][:, 0], arrays["number"][:, 1]
    done = status == DONE
    for column, name in enumerate(quantities):
        outcomes[name][numbers[done]] = arrays["value"][done, column]
    for column, name in enumerate(counts, 2):
        outcomes[name][numbers[done]] = arrays["number"][done, column]
    outcomes["status"][numbers] = np.maximum(status, PENDING)
    for code in np.unique(reason).tolist():
        outcomes["reason"][numbers[reason == code]] = Reason(max(code, 0)).names
    for i in np.flatnonzero(arrays["why"][:, 0]).tolist():
        text = arrays["why"][i].tobytes().rstrip(b"\0").decode()
        outcomes["message"][numbers[i]] = text
