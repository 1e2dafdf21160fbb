"""``iitdask export``."""

from __future__ import annotations

from iitdask.cli.units import bytes_text
from iitdask.result.export import export as write
from iitdask.run.outcome import what_is_there

__all__ = ["export"]


def export(store: str, file: str, /) -> int:
    """Write the result of a store to a file for other programs.

    Of a sweep that is not finished, what is there is written.

    Parameters
    ----------
    store
        Directory or URL of the store.
    file
        .csv (a table), .nc (NetCDF 4) or .json (everything).
    """
    written = write(what_is_there(store), file)
    print(f"{written}: {bytes_text(written.stat().st_size)}")
    return 0
