# The image of lesionwise: one file, two variants.
#   docker build -t lesionwise:0.1.0 .                               torch with CUDA; runs on a CPU too
#   docker build -t lesionwise:0.1.0-cpu --build-arg VARIANT=cpu .   much smaller; docs/container.md says where its torch comes from
# `make image` and `make image-cpu` also fill in the labels.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# ---- What the program imports: exact versions with hashes, less what only programmers need. ----
FROM ${BASE_IMAGE} AS dependencies
ARG VARIANT=gpu
ARG PIP_ARGS=""
COPY requirements/${VARIANT}.lock requirements/data.lock docker/slim.sh docker/warm_up.py /build/
# The folder `wheels` is empty, or holds the packages where there is no index (then with PIP_ARGS=--no-index).
RUN --mount=type=bind,source=wheels,target=/tmp/wheels \
    touch /build/begun && apt-get update -qq && apt-get install -qqy --no-install-recommends binutils \
    && python3 -m venv --without-pip /opt/venv \
    && python3 -m pip --python /opt/venv/bin/python --disable-pip-version-check install --quiet \
        --no-cache-dir --no-compile --no-deps --require-hashes --only-binary :all: --find-links /tmp/wheels ${PIP_ARGS} \
        -r /build/${VARIANT}.lock -r /build/data.lock \
    && sh /build/slim.sh /opt/venv && /opt/venv/bin/python /build/warm_up.py

# ---- The program and its weights, which must be the bytes that their manifest names. ----
FROM dependencies AS program
COPY pyproject.toml README.md LICENSE /build/
COPY app /build/app
COPY docker/compile_ahead.py /build/
COPY weights/manifest.json weights/segmentation.safetensors /opt/lesionwise/weights/
# /program holds what the last layer adds: also the bytecode of Python's own modules, which the official image leaves out; and
# it is readable for all, even from a checkout that is not. A login shell resets PATH, so the command is in /usr/local/bin too.
RUN python3 -m pip --python /opt/venv/bin/python --disable-pip-version-check install --quiet \
        --no-cache-dir --no-deps --no-index --no-build-isolation /build \
    && /opt/venv/bin/python /build/compile_ahead.py \
    && /opt/venv/bin/python -c 'import pathlib, lesionwise.weights as w; w.load_weights(pathlib.Path("/opt/lesionwise/weights"))' \
    && cp /build/LICENSE /opt/lesionwise/ \
    && mkdir -p /program/usr/local/bin \
    && find "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" -name '*.pyc' -newer /build/begun \
        -not -path '*/site-packages/*' -exec cp -a --parents {} /program \; \
    && ln -s /opt/venv/bin/lesionwise /program/usr/local/bin/ \
    && cp -a --parents /opt/lesionwise /opt/venv/bin/lesionwise /opt/venv/lib/python3.11/site-packages/lesionwise* /program \
    && chmod -R a+rX /program

# ---- The image: two layers on the base, no compiler, no package cache, not root. ----
FROM ${BASE_IMAGE}
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=program /program /
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONNOUSERSITE=1 PYTHONUNBUFFERED=1
USER 10001:10001
ARG VERSION=unversioned
ARG REVISION=unknown
LABEL org.opencontainers.image.title="lesionwise" \
      org.opencontainers.image.description="New multiple-sclerosis lesions between two FLAIR time points" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["lesionwise"]
CMD ["--help"]
