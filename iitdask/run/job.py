"""What goes to a worker and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iitdask.run.layout import Layout
    from iitdask.run.plan import Block
    from iitdask.theory.base import Region, Stage, Stored

__all__ = ["Deposit", "Failure", "Filled", "Job", "Receipt", "Setting", "Shelved"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Deposit:
    """An input array that the driver put into the store for the workers."""

    name: str
    """Name of the input."""
    digest: int
    """Checksum of the array."""


@dataclass(frozen=True, slots=True)
class Shelved:
    """An array that an earlier stage left in another store."""

    url: str
    """Address of that store."""
    stored: Stored
    """Stage and variable."""


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What all bundles of one stage share."""

    stage: Stage
    """The stage, without inputs and cost: it travels with every bundle."""
    layout: Layout
    """Its blocks and variables."""
    ledger: str
    """What tells this ledger from others."""
    store: str | None
    """Address at which workers write; None when the driver fills the ledger."""
    inputs: Mapping[str, Array | Stored | Shelved | Deposit]
    """The stage's inputs, or where in the store they are."""

    @classmethod
    def of(
        cls,
        stage: Stage,
        layout: Layout,
        ledger: str,
        store: str | None,
        inputs: Mapping[str, Array | Stored | Shelved | Deposit],
    ) -> Setting:
        """Strip a stage of what workers get by other ways or do not need."""
        return cls(replace(stage, inputs={}, members={}, cost=_free), layout, ledger, store, inputs)

    @property
    def key(self) -> tuple[object, ...]:
        """What tells prepared inputs of this stage from others in one process."""
        chunks = self.layout.tiling.chunks
        return (self.ledger, self.layout.name, self.layout.lineage, chunks)


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One bundle, ready to be run."""

    setting: Setting
    """What it shares with the other bundles of its stage."""
    blocks: tuple[Block, ...]
    """The blocks to fill, in this order."""
    near: bool = False
    """Whether to send it to a worker would take longer than to run it."""


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """One block that was computed."""

    block: Block
    """Block coordinates."""
    seconds: float
    """Seconds the computation took."""
    arrays: Mapping[str, Array] | None
    """The arrays, when the driver is to put them into the ledger."""
    enough: bool
    """Whether the stage's `until` holds for the block."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One block that could not be computed."""

    block: Block
    """Block coordinates."""
    error: str
    """The exception, as text."""
    traceback: str
    """Where it came from."""


@dataclass(frozen=True, slots=True, eq=False)
class Receipt:
    """What became of one bundle."""

    stage: str
    """Name of the stage."""
    worker: str
    """Host and process."""
    filled: tuple[Filled, ...]
    """Blocks that were computed."""
    failed: tuple[Failure, ...]
    """Blocks that were not."""
    remark: str = ""
    """What is not as one would want it on the worker."""


def _free(region: Region) -> float:
    return 0.0 * len(region)
