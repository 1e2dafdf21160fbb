"""Study files: read YAML, JSON or a Python mapping into a checked ``Study``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from iitdask.errors import SpecError
from iitdask.model import examples
from iitdask.model.readers import substrate_from_study
from iitdask.model.substrate import Substrate
from iitdask.model.system import Target
from iitdask.theory.catalog import (
    COMPUTATIONS,
    default_theory,
    get_computation,
    target_from_fields,
    theory_options,
)
from iitdask.theory.options import Theory

__all__ = [
    "Problem",
    "RunOptions",
    "Study",
    "problem_fields",
    "problem_from_fields",
    "problem_from_study",
    "read_study",
]

NOTE_FIELDS = ("name", "title", "citation", "figure", "note")


class RunOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to run; never changes a result."""

    workers: int | None = None
    """Worker processes; None: threads of this process, one per core."""
    memory: str | int | None = None
    """Memory of one worker, such as ``4GB``."""
    block_seconds: float = 5.0
    """Wished seconds of a block."""


class Study(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of a study file."""

    substrate: dict[str, Any] | None = None
    """Exactly one of example, tpm, factors, units; optionally connectivity and labels. Only a
    sweep over substrates has none."""
    state: str | list[int] | dict[str, int] | None = None
    """Current state of all units."""
    units: str | list[int | str] | None = None
    """Candidate system, or the units that candidates consist of; None: all units."""
    max_size: int | None = None
    """Most units of a candidate, when complexes are sought."""
    candidates: list[str | list[int | str]] | None = None
    """The candidates themselves, when not all are to be looked at."""
    before: str | list[int] | dict[str, int] | None = None
    """State of all units before a transition."""
    after: str | list[int] | dict[str, int] | None = None
    """State of all units after it."""
    causes: str | list[int | str] | None = None
    """Candidate causes of a transition; None: all units."""
    effects: str | list[int | str] | None = None
    """Candidate effects of a transition; None: all units."""
    max_order: int | None = None
    """Most units of an occurrence whose cause or effect is sought."""
    theory: str | dict[str, Any] | None = None
    """Theory by name, or a mapping of its name and options; None: the first that defines it."""
    compute: str = "ces"
    """What to compute."""
    sweep: dict[str, Any] | None = None
    """Axes of a sweep; one of them may be the substrate, the state or the theory."""
    keep: Literal["structures"] | None = None
    """What a sweep keeps beside its cube: the whole result of every point."""
    run: RunOptions = RunOptions()
    """How to run."""
    name: str | None = None
    """For the reader."""
    title: str | None = None
    """For the reader."""
    citation: str | None = None
    """For the reader."""
    figure: str | None = None
    """For the reader."""
    note: str | None = None
    """For the reader."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One system, one theory, one computation: what a store holds."""

    target: Target
    """What it is about, such as a candidate system in its substrate and state."""
    options: Theory
    """Theory with its options."""
    compute: str
    """Computation."""

    @property
    def fingerprint(self) -> str:
        """Digest of everything that decides the numbers; labels, cluster and block size do not."""
        chosen = json.dumps(msgspec.to_builtins(self.options), sort_keys=True)
        parts = [self.compute, chosen, self.target.fingerprint]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def described(self) -> dict[str, Any]:
        """The study as a store records it: normalised, comparable field by field."""
        substrate = self.target.substrate
        return {
            "compute": self.compute,
            "theory": msgspec.to_builtins(self.options),
            **self.target.described(),
            "labels": list(substrate.labels),
            "substrate": substrate.fingerprint,
        }


def read_study(given: str | Path | dict[str, Any]) -> tuple[Study, Path]:
    """Read a study file, an example by name, or a mapping; returns it with its folder.

    Raises
    ------
    SpecError
        The file is missing, not YAML or JSON, or a field is unknown or of the wrong kind.
    """
    if isinstance(given, dict):
        return _study_from_mapping(given, "study"), Path()
    path = Path(given)
    if not path.exists() and str(given) in examples.names():
        return _study_from_mapping(examples.spec(str(given)), str(given)), Path()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = "expected a study file or the name of an example (`iitdask examples`)"
        raise SpecError(f"{path}: cannot be read ({error}); {hint}") from error
    return _study_from_mapping(_parse_file(text, path), str(path)), path.parent


def _parse_file(text: str, path: Path) -> Any:
    try:
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except json.JSONDecodeError as error:
        raise SpecError(f"{path}: line {error.lineno}: expected JSON, {error.msg}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise SpecError(f"{path}:{line} expected YAML, {problem}") from error


def _study_from_mapping(content: Any, where: str) -> Study:
    if not isinstance(content, dict):
        raise SpecError(
            f"{where}: expected a mapping with `substrate`, got {type(content).__name__}"
        )
    try:
        study = msgspec.convert(content, Study)
    except msgspec.ValidationError as error:
        fields = ", ".join(f for f in Study.__struct_fields__ if f not in NOTE_FIELDS)
        raise SpecError(f"{where}: {error}; a study has {fields}") from error
    if study.substrate is None and "substrate" not in (study.sweep or {}):
        raise SpecError(f"{where}: expected `substrate`, got {', '.join(content) or 'nothing'}")
    return study


def problem_from_study(study: Study, folder: Path, where: str) -> Problem:
    """Build what a study asks for."""
    get_computation(study.compute, f"{where}: compute")
    if study.sweep is not None:
        raise SpecError(f"{where}: sweep: expected a study of one point, got axes")
    substrate: Substrate = substrate_from_study(
        study.substrate or {}, folder, f"{where}: substrate"
    )
    options = theory_options(study.theory or default_theory(study.compute), f"{where}: theory")
    return problem_from_fields(study.compute, substrate, options, problem_fields(study), where)


def problem_fields(study: Study) -> dict[str, Any]:
    """Return the fields of a study that say what is asked of its substrate."""
    names = dict.fromkeys(f for each in COMPUTATIONS.values() for f in each.target.FIELDS)
    return {name: getattr(study, name) for name in names}


def problem_from_fields(
    compute: str, substrate: Substrate, options: Theory, fields: dict[str, Any], where: str
) -> Problem:
    """Build a point; None among the fields means not given."""
    return Problem(target_from_fields(compute, substrate, fields, where), options, compute)
