#!/bin/sh
# What the image holds: iitdask from the folder given, object storage, and Dask's commands.
set -eu
python -m pip install --no-cache-dir --constraint "$1/deploy/kubernetes/constraints.txt" "$1[remote]"
# Written out once, since a container's file system is read-only.
python -m compileall -q "$(python -c 'import iitdask, pathlib; print(pathlib.Path(iitdask.__file__).parent)')"
for command in iitdask dask; do
  command -v "$command" >/dev/null || { echo "install.sh: $command is missing" >&2; exit 1; }
done
dask scheduler --version
dask worker --version
python -m iitdask --version
