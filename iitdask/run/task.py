"""How one stage lies in a ledger: its variables, its blocks and its lineage.

What goes to a worker and what comes back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from iitdask.errors import InputError
from iitdask.run.checksum import text_digest
from iitdask.run.plan import Block, StageMemory, Tiling
from iitdask.run.storage import Store
from iitdask.theory.stage import Array, Grid, Region, Stage, StageRef, Variable


@dataclass(frozen=True, slots=True)
class StageLayout:
    """Variables, blocks and lineage of a stage: what a ledger records of it."""

    name: str
    version: int
    lineage: str  # Digest of all that the numbers depend on
    tiling: Tiling
    variables: tuple[Variable, ...]  # Its variables, in the order of checksums in a commit record
    partial: bool  # Whether blocks may rightly stay uncommitted (the stage has an `until`)

    @classmethod
    def from_stage(cls, stage: Stage, tiling: Tiling, lineage: str) -> StageLayout:
        """Describe a stage that is cut by a tiling."""
        partial = stage.until is not None
        return cls(stage.name, stage.version, lineage, tiling, stage.variables, partial)

    @property
    def nbytes(self) -> int:
        """Bytes of all variables together."""
        return sum(map(self.size, self.variables))

    def size(self, variable: Variable) -> int:
        """Return the bytes of one variable."""
        return math.prod(self.shape(variable)) * np.dtype(variable.dtype).itemsize

    def variable(self, name: str) -> Variable:
        """Return a variable by its name; InputError if there is none."""
        for variable in self.variables:
            if variable.name == name:
                return variable
        known = ", ".join(v.name for v in self.variables)
        raise InputError(f"stage {self.name!r} has no variable {name!r}; it has {known}")

    def dims(self, variable: Variable) -> tuple[str, ...]:
        """Return the names of a variable's axes."""
        return self.tiling.grid.dims + tuple(dim for dim, _ in variable.inner)

    def shape(self, variable: Variable) -> tuple[int, ...]:
        """Return the lengths of a variable's axes."""
        return self.tiling.grid.shape + tuple(n for _, n in variable.inner)

    def empty(self, variable: Variable) -> Array:
        """Return a variable with no block filled."""
        return np.full(self.shape(variable), variable.fill, variable.dtype)

    def attrs(self, variable: Variable) -> dict[str, str]:
        """Return the Zarr attributes of a variable."""
        return {"units": variable.unit, "comment": variable.doc}

    def validated(self, block: Block, arrays: Mapping[str, Any]) -> dict[str, Array]:
        """Return the arrays of a block, C-contiguous."""
        names = [variable.name for variable in self.variables]
        if set(arrays) != set(names):
            raise InputError(
                f"stage {self.name!r} fills {sorted(names)}, its compute gave {sorted(arrays)}"
            )
        inside = region_shape(self.tiling.region(block))
        # Laid out as they will be checked and written: once, not each time.
        ordered = {v.name: np.asarray(arrays[v.name], order="C") for v in self.variables}
        return {v.name: self._fitting(v, inside, ordered[v.name]) for v in self.variables}

    def _fitting(self, variable: Variable, inside: tuple[int, ...], array: Array) -> Array:
        shape = inside + tuple(n for _, n in variable.inner)
        dtype = np.dtype(variable.dtype)
        if array.shape != shape or array.dtype != dtype:
            raise InputError(
                f"stage {self.name!r}, variable {variable.name!r}: expected {dtype} {shape}, "
                f"compute gave {array.dtype} {array.shape}"
            )
        return array

    def label_arrays(self, arrays: Mapping[str, Array]) -> dict[str, xr.Variable]:
        """Return the arrays of the whole stage with names of axes, units and comments."""
        return {
            v.name: xr.Variable(self.dims(v), arrays[v.name], self.attrs(v)) for v in self.variables
        }

    def to_json(self) -> dict[str, Any]:
        """Return the layout as JSON, with a checksum over itself."""
        grid = self.tiling.grid
        found: dict[str, Any] = {
            "stage": self.name,
            "version": self.version,
            "lineage": self.lineage,
            "grid": {
                "dims": list(grid.dims),
                "shape": list(grid.shape),
                "whole": list(grid.unsplit),
                "power_of_two": list(grid.power_of_two),
            },
            "chunks": list(self.tiling.chunks),
            "variables": [_variable_to_json(variable) for variable in self.variables],
            "partial": self.partial,
        }
        return {**found, "check": text_digest([found])}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> StageLayout:
        """Read what `to_json` wrote; ValueError when it is not that."""
        try:
            body = {key: value for key, value in given.items() if key != "check"}
            if text_digest([body]) != given["check"]:
                raise ValueError("the layout of the stage does not match its checksum")
            keys = ("dims", "shape", "whole", "power_of_two")
            grid = Grid(*(tuple(body["grid"][key]) for key in keys))
            tiling = Tiling(grid, tuple(body["chunks"]))
            fills = tuple(_variable_from_json(variable) for variable in body["variables"])
            name, version, lineage = body["stage"], body["version"], body["lineage"]
            return cls(name, version, lineage, tiling, fills, body["partial"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the layout of a stage: {error!r}") from error


def region_shape(region: Region) -> tuple[int, ...]:
    """Return the lengths of a region along its axes."""
    return tuple(part.stop - part.start for part in region)


def _variable_to_json(variable: Variable) -> dict[str, Any]:
    # JSON has no NaN and no infinities: such fill values travel as text.
    fill = variable.fill if math.isfinite(variable.fill) else str(variable.fill)
    return {**asdict(variable), "fill": fill, "inner": [list(axis) for axis in variable.inner]}


def _variable_from_json(given: Mapping[str, Any]) -> Variable:
    fill = float(given["fill"]) if isinstance(given["fill"], str) else given["fill"]
    inner = tuple((dim, n) for dim, n in given["inner"])
    return Variable(given["name"], given["dtype"], fill, given["unit"], given["doc"], inner)


@dataclass(frozen=True, slots=True)
class InputRef:
    """Reference to an input array that the driver wrote beside the stage for the workers."""

    name: str
    digest: int


@dataclass(frozen=True, slots=True)
class VariableRef:
    """Reference to a variable of an earlier stage."""

    store: Store  # Store that keeps the stage: that of the run, or an entry of the cache
    variable: StageRef


Input = Array | VariableRef | InputRef  # Input of a stage for workers: the array, or where it is


@dataclass(frozen=True, slots=True, eq=False)
class StageContext:
    """What a worker needs to compute any block of one stage."""

    stage: Stage  # The stage, without inputs and cost, since it travels with every bundle
    layout: StageLayout
    ledger: str  # Name of the ledger, unique among those that one process may see
    store: Store | None  # Store into which workers write; None if the driver fills the ledger
    inputs: Mapping[str, Input]

    @classmethod
    def from_stage(
        cls,
        stage: Stage,
        layout: StageLayout,
        ledger: str,
        store: Store | None,
        inputs: Mapping[str, Input],
    ) -> StageContext:
        """Make the context of a stage, leaving out what workers do not need of it."""
        return cls(
            replace(stage, inputs={}, axis_masks={}, cost=_zero_cost), layout, ledger, store, inputs
        )

    @property
    def key(self) -> tuple[object, ...]:
        """Key of the prepared inputs of this stage in a process-wide cache."""
        chunks = self.layout.tiling.chunks
        return (self.ledger, self.layout.name, self.layout.lineage, chunks)


@dataclass(frozen=True, slots=True, eq=False)
class BundleTask:
    """One bundle of blocks to compute."""

    context: StageContext
    blocks: tuple[Block, ...]  # Blocks to compute, in this order
    run_locally: bool = False  # Whether the driver computes it: sending it would take longer
    claim: Block = ()  # First block of its bundle, by which processes that share a store claim it
    needs: StageMemory | None = None  # Memory of a process that computes it


class WorkerMemory(NamedTuple):
    """Memory of a worker process."""

    nbytes: int
    threads: int = 1  # That fill blocks at a time


@dataclass(frozen=True, slots=True, eq=False)
class BlockResult:
    """One block that was computed."""

    block: Block
    seconds: float
    arrays: Mapping[str, Array] | None
    """The arrays, if the driver is to put them into the ledger; None if they are there."""
    meets_until: bool  # Whether the condition `until` of the stage holds for the block


@dataclass(frozen=True, slots=True)
class BlockError:
    """One block that could not be computed."""

    block: Block
    error: str
    traceback: str  # Its traceback, as text; empty if the worker died


@dataclass(frozen=True, slots=True, eq=False)
class BundleResult:
    """Outcome of one bundle.

    Without any block it says that other processes may have filled some.
    """

    stage: str
    worker: str  # Empty where no worker told what became of the blocks
    filled: tuple[BlockResult, ...]
    failed: tuple[BlockError, ...]
    warning: str = ""  # Warning about the worker's configuration; empty if there is none


def _zero_cost(region: Region) -> float:
    return 0.0 * len(region)
