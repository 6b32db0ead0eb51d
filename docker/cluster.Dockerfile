# A worker of a Dask cluster: the image of lesionwise and what Dask needs (docs/cluster.md).
#   docker build -f docker/cluster.Dockerfile -t lesionwise-worker:0.1.0 --build-arg IMAGE=lesionwise:0.1.0 .
ARG IMAGE=lesionwise:0.1.0
FROM ${IMAGE}
USER root
COPY requirements/cluster.lock /tmp/
RUN python3 -m pip --python /opt/venv/bin/python --disable-pip-version-check install --quiet --no-cache-dir --no-deps \
        --require-hashes --only-binary :all: -r /tmp/cluster.lock \
    && rm /tmp/cluster.lock
USER 10001:10001
ENTRYPOINT ["dask", "worker"]
CMD ["--help"]
