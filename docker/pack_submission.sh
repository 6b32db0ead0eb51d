#!/usr/bin/env bash
# Packs an image and its papers into a folder: what an evaluation platform needs to run it and a reviewer to judge it.
# usage: docker/pack_submission.sh DOCKER IMAGE gpu|cpu FOLDER       (make submission)
set -euo pipefail
docker=$1 image=$2 variant=$3
mkdir -p "$4"; folder=$(cd "$4" && pwd)
cd "$(dirname "$0")/.."
tools=$PWD/build/tools
name=${image/:/-}
rm -rf "${folder:?}"/*

echo "image archive"
$docker save "$image" | gzip -n > "$folder/$name.tar.gz"

echo "descriptors and example"
cp docker/boutiques-gpu.json docker/boutiques-cpu.json docker/example-invocation.json LICENSE "$folder/"
for descriptor in "$folder"/boutiques-*.json; do "$tools/bin/bosh" validate "$descriptor" >/dev/null; done
sed "s#@ARCHIVE@#$name.tar.gz#" docker/lesionwise.def > "$folder/lesionwise.def"

echo "model card"
cp weights/README.md "$folder/model-card.md"

# The tool looks at the image's own environment: it runs inside, from a folder lent to the container.
echo "software bill of materials"
$docker run --rm --network none --entrypoint /opt/venv/bin/python -v "$tools/lib/python3.11/site-packages:/tools:ro" \
    -v "$PWD/pyproject.toml:/pyproject.toml:ro" "$image" -c '
import sys
sys.path.append("/tools")
from cyclonedx_py._internal.cli import run
sys.exit(run(argv=["environment", "--pyproject", "/pyproject.toml", "--mc-type", "application", "--output-reproducible",
              "--of", "JSON", "/opt/venv/bin/python"]))' > "$folder/sbom.cdx.json"

(cd "$folder" && find . -type f ! -name SHA256SUMS -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum > SHA256SUMS)
echo "packed $variant variant: $folder"
cat "$folder/SHA256SUMS"
