"""Print the lowest version of each dependency that pyproject.toml allows, as pip's constraints."""

import re
import tomllib
from pathlib import Path

EXTRAS = ("remote", "slurm", "netcdf")  # what a user installs; those of the tests may be newer


def main():
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for line in [*project["dependencies"], *(line for name in EXTRAS for line in extras[name])]:
        name, version = re.fullmatch(r"([\w.-]+)>=([\w.]+)", line).groups()
        print(f"{name}=={version}")  # noqa: T201


if __name__ == "__main__":
    main()
