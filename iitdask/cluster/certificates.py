"""Certificates of one run, for processes that share a folder; ``python -m`` makes them there."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["exported", "write_certificates"]

AUTHORITY, KEY = "authority.pem", "key.pem"


def write_certificates(folder: Path) -> None:
    """Write a certificate that signs itself, and its key, for this user's eyes alone.

    Parameters
    ----------
    folder : Path
        Directory that all processes of the run see; made when it is not there.
    """
    from distributed.security import Security

    made = Security.temporary()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in ((AUTHORITY, made.tls_ca_file), (KEY, made.tls_client_key)):
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="ascii")


def exported(folder: str) -> list[str]:
    """Lines of a shell script after which every process of Dask uses the certificates.

    Parameters
    ----------
    folder : str
        The directory, as the shell is to read it.
    """
    tls = "DASK_DISTRIBUTED__COMM__TLS"
    roles = ("SCHEDULER", "WORKER", "CLIENT")
    return [
        "export DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=true",
        "export DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME=tls",
        f'export {tls}__CA_FILE="{folder}/{AUTHORITY}"',
        *(f'export {tls}__{role}__CERT="{folder}/{AUTHORITY}"' for role in roles),
        *(f'export {tls}__{role}__KEY="{folder}/{KEY}"' for role in roles),
    ]


if __name__ == "__main__":
    write_certificates(Path(sys.argv[1]))
