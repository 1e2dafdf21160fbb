#!/bin/sh
# build.sh REPOSITORY:TAG [PLATFORMS]: builds the image for both architectures and pushes it; from the repository's root.
# Prints what to give the chart: its repository, and the digest, by which a tag that moves does not matter.
set -eu
image=${1:?build.sh: expected REPOSITORY:TAG, got nothing}
case "${image##*/}" in
*:*) ;;
*) echo "build.sh: expected REPOSITORY:TAG, got $image" >&2; exit 2 ;;
esac
# One that can build for other processors than its own, which Docker's own builder cannot.
docker buildx inspect iitdask >/dev/null 2>&1 || docker buildx create --name iitdask --driver docker-container >/dev/null
about=$(mktemp)
trap 'rm -f "$about"' EXIT
docker buildx build --builder iitdask --platform "${2:-linux/amd64,linux/arm64}" --file deploy/kubernetes/Dockerfile \
  --tag "$image" --metadata-file "$about" --push .
digest=$(sed -n 's/.*"containerimage.digest": *"\([^"]*\)".*/\1/p' "$about")
echo "--set image.repository=${image%:*},image.digest=$digest"
