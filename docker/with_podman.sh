#!/usr/bin/env bash
# Runs make targets for the CPU image where there is no image registry and no Docker daemon, as in continuous integration:
# with podman from Debian, a base image made from Debian's packages, and Python packages that the host downloads.
# usage: docker/with_podman.sh RECIPE TARGET...     RECIPE: the folder that holds mkconf.sh, mkbase.sh and bin/docker
#        for example TARGET image-cpu image-test    CTR: work folder, a cache between runs (default /var/tmp/ctr-ci)
set -euo pipefail
recipe=$(cd "${1:?usage: docker/with_podman.sh RECIPE TARGET...}" && pwd); shift
cd "$(dirname "$0")/.."
export CTR=${CTR:-/var/tmp/ctr-ci}
lap() { echo "[$SECONDS s] $*"; }

missing=()
for tool in podman runc mmdebstrap; do PATH=$PATH:/usr/sbin command -v $tool >/dev/null || missing+=("$tool"); done
if [ ${#missing[@]} -gt 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends "${missing[@]}" >/dev/null
fi
"$recipe/mkconf.sh" "$CTR"
. "$CTR/env"
lap "engine: $(podman --version)"

tag=$(cksum < "$recipe/mkbase.sh" | cut -d ' ' -f 1)
base=localhost/base:$tag
if ! podman image exists "$base"; then
    [ -s "$CTR/base-$tag.tar" ] || "$recipe/mkbase.sh" "$CTR/base-$tag.tar"
    podman import --quiet --change 'CMD ["python3"]' --change 'ENV LANG=C.UTF-8' \
        --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' "$CTR/base-$tag.tar" "$base" >/dev/null
fi
lap "base image: $(podman image inspect --format '{{.Size}}' "$base") bytes"

make wheels
lap "wheels: $(du -sh wheels | cut -f 1)"

for target in "$@"; do
    make "$target" DOCKER="$recipe/bin/docker" BUILD_ARGS="--format docker --pull=never --network=host \
        --build-arg BASE_IMAGE=$base --build-arg PIP_ARGS=--no-index"
    lap "$target"
done
