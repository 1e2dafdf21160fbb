"""What a computation is about: a candidate system, all candidates of a network, a transition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

if TYPE_CHECKING:
    from iitdask.model.substrate import Substrate

__all__ = ["Subject"]


class Subject(Protocol):
    """A substrate and what is asked of it, under names a study file uses."""

    FIELDS: ClassVar[tuple[str, ...]]
    """Fields of a study that say what is asked; the first ones are required."""
    REQUIRED: ClassVar[int]
    """How many of ``FIELDS`` a study must give."""

    @property
    def substrate(self) -> Substrate:
        """All units there are."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the units that masks in its stages number."""
        ...

    @property
    def fingerprint(self) -> str:
        """Digest of everything that decides results; labels do not."""
        ...

    @classmethod
    def asked(cls, substrate: Substrate, fields: Mapping[str, Any]) -> Self:
        """Build it from the fields of a study that are given, all of them among ``FIELDS``.

        Raises
        ------
        StateError
            A field does not fit the substrate.
        """
        ...

    def described(self) -> Mapping[str, Any]:
        """Return the fields, as plain numbers and lists, that build it again."""
        ...
