"""Study files as frozen values, and one execution of the job that a study asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import xarray as xr

from iitdask.errors import InputError, SpecError, quote
from iitdask.model import examples
from iitdask.model.documents import path_text, read_document
from iitdask.model.labels import field_suggestion, suggestion
from iitdask.run.events import Observer
from iitdask.theory.catalog import COMPUTATIONS
from iitdask.theory.stage import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class JobRun:
    """One execution of a job."""

    recipe: Recipe  # Stages to fill; can be executed once
    finish: Callable[[xr.DataTree], xr.DataTree]  # Labels the result that the recipe returns
    observers: tuple[Observer, ...] = ()  # Receive the events of the run, after those of the caller


STUDY_EXPECTED = "a study file or the name of an example (`iitdask examples`)"
QUOTED_FIELDS = (
    "state", "window", "before", "after", "units", "causes", "effects", "sensory", "system",
)  # fmt: skip
"""Fields of which a number is text that lacks its quotes."""
MAX_WORKERS = 10_000  # Processes, jobs or threads of a run
NOTE_FIELDS = ("name", "title", "citation", "figure", "note")


def require_worker_count(name: str, value: Any) -> None:
    """Refuse what is no number of processes, jobs or threads, or can only be a slip."""
    is_number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if value is not None and not (is_number and 1 <= value <= MAX_WORKERS):
        raise InputError(
            f"{name}: expected a whole number from 1 to {MAX_WORKERS}, got {quote(value)}"
        )


class RunOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to run; never changes a result."""

    workers: int | None = None  # Worker processes; None: threads of this process, one per core
    memory: str | int | None = None  # Memory of one worker, such as `4GB`
    block_seconds: float = 5.0  # Target seconds of a bundle of blocks

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if not 0 < self.block_seconds < math.inf:
            text = f"expected seconds above 0, got {quote(self.block_seconds)}"
            raise ValueError(f"block_seconds: {text}")
        require_worker_count("workers", self.workers)


StateField = str | list[int | str] | dict[str, int | str] | None
_WindowEntry = int | str | list[int | str] | dict[str, int | str]
WindowField = str | list[_WindowEntry] | dict[str, int | str] | None


class Study(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of a study file."""

    substrate: dict[str, Any] | None = None
    """Exactly one of example, tpm, factors, units; optionally connectivity and labels. Only a
    sweep over substrates has none."""
    state: StateField = None  # Current state of all units
    window: WindowField = None
    """States of all units, oldest first, instead of `state`: what units of several updates need."""
    units: str | list[int | str | dict[str, Any]] | dict[str, Any] | None = None
    """Candidate system, or the units that candidates consist of; None: all units. A mapping defines
    a unit of several constituents or updates, see `iitdask.unit`."""
    max_size: int | None = None  # Most units of a candidate, when complexes are searched
    candidates: list[str | list[int | str]] | None = None
    """The candidates, when not all subsets of the units are searched."""
    mappings: str | None = None  # Truth tables of macro units, when grains are searched
    updates: int | None = None  # Most updates of its constituents that such a unit spans
    depth: int | None = None  # Levels of such units
    constituents: int | None = None  # Most micro constituents of such a unit
    background: int | None = None  # Most background units apportioned in one system of them
    footprints: list[list[str | list[int | str]]] | None = None
    """Systems that are looked at, each as the micro constituents of its units."""
    before: StateField = None  # State of all units before a transition
    after: StateField = None  # State of all units after the transition
    causes: str | list[int | str] | None = None  # Candidate causes of a transition; None: all units
    effects: str | list[int | str] | None = None  # Candidate effects of a transition; None: all
    max_order: int | None = None  # Most units of an occurrence whose cause or effect is searched
    sensory: str | list[int | str] | None = None  # Sensory interface of a system that perceives
    system: str | list[int | str] | None = None  # Such a system: all other units
    tau: int | None = None  # Steps from a stimulus to the state it triggers; None: 1
    clamp: int | None = None  # Steps for which the stimulus is held; None: tau
    stimuli: Literal["all"] | list[str | list[int]] | None = None
    """States of the sensory interface; None: all of them."""
    search: dict[str, Any] | None = None
    """Networks that are searched for the largest phi_s: `tables`, `weights` or a `family`, with the
    options of `iitdask.search`. Such a study has no substrate."""
    theory: str | dict[str, Any] | None = None
    """Theory by name, or a mapping of its name and options; None: the first that defines it."""
    compute: str = "ces"  # Computation, a name in `COMPUTATIONS`
    sweep: dict[str, Any] | None = None
    """Axes of a sweep; one of them may be the substrate, the state or the theory."""
    keep: Literal["structures"] | None = None
    """``structures``: a sweep keeps the whole result of every point beside its cube."""
    run: RunOptions = RunOptions()  # How to run
    name: str | None = None  # Name of the study, for its readers
    title: str | None = None  # Title of the paper or project, shown when the study is run
    citation: str | None = None  # Source to cite, shown when the study is run
    figure: str | None = None  # Figure or table that the study reproduces
    note: str | None = None  # Remarks for readers


def read_study(spec: str | Path | dict[str, Any]) -> tuple[Study, Path]:
    """Read a study file, an example or a mapping; return also the folder of its file names."""
    if isinstance(spec, dict):
        return _study_from_mapping(spec, "study"), Path()
    path = Path(spec)
    if str(spec) in examples.names() and not path.exists():
        return _study_from_mapping(examples.spec(str(spec)), str(spec)), Path()
    if not path.exists():
        hint = suggestion(str(spec), examples.names())
        if hint.startswith("did you mean"):
            raise SpecError(f"{path}: expected {STUDY_EXPECTED}, found none; {hint}")
    content = read_document(path, SpecError, STUDY_EXPECTED)
    return _study_from_mapping(content, str(path)), path.parent


def read_named_study(spec: Any) -> tuple[Study, Path, str]:
    """Read a study as :func:`read_study`; return also what to call it in messages."""
    if isinstance(spec, Mapping):
        return *read_study(dict(spec)), "study"
    where = path_text(spec, "study: expected a file, an example or a mapping", SpecError)
    return *read_study(where), where


def _study_from_mapping(content: Any, where: str) -> Study:
    if not isinstance(content, dict):
        raise SpecError(
            f"{where}: expected a mapping with `substrate`, got "
            f"{'nothing' if content is None else type(content).__name__}"
        )
    for name in QUOTED_FIELDS:
        value = content.get(name)
        if isinstance(value, int | float):
            raise SpecError(
                f"{where}: {name}: expected text or a list, got {quote(value)}; "
                f'quote it: {name}: "{quote(value)}"'
            )
    try:
        study = msgspec.convert(content, Study)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        fields = [f for f in Study.__struct_fields__ if f not in NOTE_FIELDS]
        hint = field_suggestion(error, fields) or f"a study has {', '.join(fields)}"
        raise SpecError(f"{where}: {error}; {hint}") from error
    # Those of a sweep may be an axis, those of a search are what it finds.
    if study.substrate is None and study.sweep is None and study.search is None:
        raise SpecError(f"{where}: expected `substrate`, got {', '.join(content) or 'nothing'}")
    return study


def problem_fields(study: Study) -> dict[str, Any]:
    """Return the fields of a study that build a target from its substrate."""
    names = dict.fromkeys(f for each in COMPUTATIONS.values() for f in each.target.FIELDS)
    return {name: getattr(study, name) for name in names}
