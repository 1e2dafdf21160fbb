#!/bin/sh
# Entry point of the image: runs a command with the kernels that were compiled when the image was built.
set -eu
# They are for any processor that has what x86-64-v3 names, so that unequal nodes share them; others compile their own.
if [ "$(uname -m)" = x86_64 ] && [ -z "${NUMBA_CPU_NAME:-}" ] && grep -qw avx2 /proc/cpuinfo; then
  export NUMBA_CPU_NAME=x86-64-v3
  features=+64bit,+cmov,+cx16,+cx8,+fxsr,+mmx,+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+sahf
  export NUMBA_CPU_FEATURES="$features,+avx,+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+movbe,+xsave"
elif [ "$(uname -m)" = aarch64 ]; then
  export NUMBA_CPU_NAME="${NUMBA_CPU_NAME:-generic}" # what every 64-bit ARM has
fi
cache="${IITDASK_NUMBA_CACHE:-/dev/shm/iitdask}"
kernels="${IITDASK_IMAGE_KERNELS:-/opt/iitdask}"
# A folder that only this user can write to is used; that of the image is not.
if [ -n "${NUMBA_CPU_NAME:-}" ] && [ -d "$kernels" ] && [ ! -e "$cache" ]; then
  mkdir -p -m 700 "$cache"
  cp -R "$kernels/." "$cache/" || echo "start.sh: $cache has no room; kernels are compiled anew" >&2
fi
exec "$@"
