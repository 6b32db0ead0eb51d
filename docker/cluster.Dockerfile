# A worker of a Dask cluster: the image of lesionwise and what Dask needs (docs/cluster.md).
#   docker build -f docker/cluster.Dockerfile -t lesionwise-worker:0.1.0 --build-arg IMAGE=lesionwise:0.1.0 .
ARG IMAGE=lesionwise:0.1.0
FROM ${IMAGE}
ARG PIP_ARGS=""
USER root
COPY requirements/cluster.lock /build/
# The virtual environment, first on PATH, has no pip of its own: the base image's Python installs into it.
# As in the Dockerfile of the image: `wheels` is empty, or holds the packages where there is no index (then with PIP_ARGS=--no-index).
RUN --mount=type=bind,source=wheels,target=/tmp/wheels \
    "$(readlink -f /opt/venv/bin/python3)" -m pip --python /opt/venv/bin/python --disable-pip-version-check install --quiet \
        --no-cache-dir --no-compile --no-deps --require-hashes --only-binary :all: --find-links /tmp/wheels ${PIP_ARGS} \
        -r /build/cluster.lock
USER 10001:10001
ENTRYPOINT ["dask", "worker"]
CMD ["--help"]
