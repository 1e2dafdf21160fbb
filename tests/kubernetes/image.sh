#!/usr/bin/env bash
# image.sh DIR SOURCE: what the container image holds, as a folder DIR/root, made by what the Dockerfile runs.
#
# Debian 12 with its Python 3.11 stands for the base image, since no registry is asked. The operator is installed
# beside iitdask, so that one folder serves all pods.
set -euo pipefail
mkdir -p "$1" && root=$(cd "$1" && pwd)/root && source=$2
if [ -e "$root/complete" ]; then exit 0; fi
rm -rf "$root"
debootstrap --variant=minbase --include=ca-certificates,python3,python-is-python3,python3-pip bookworm "$root" >/dev/null
# The chroot reaches the network as this machine does.
cp /etc/resolv.conf /etc/hosts "$root/etc/"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
mkdir "$root/src"
git -C "$source" ls-files -z -- pyproject.toml README.md LICENSE iitdask deploy |
  tar -C "$source" --null --files-from=- -c | tar -C "$root/src" -x
inside() { # a mount namespace, so that nothing stays mounted
  unshare --mount sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' "$root" \
    env PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore "$@"
}
sed -e ':a' -e '/\\$/N; s/\\\n//; ta' "$source/deploy/kubernetes/Dockerfile" | sed -n 's/^RUN //p' |
  while read -r command; do inside sh -c "$command" </dev/null; done
inside python -m pip install -q --no-cache-dir dask-kubernetes
rm -rf "$root/src" "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}
touch "$root/complete"
