# One image for every agent; compose.yaml says which command each runs.
ARG PYTHON_IMAGE=python:3.11-slim
FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY pyproject.toml requirements.lock ops/containers/runtime_lock.py ./
# what only tests and the demo need stays out; each file that comes in is checked against the lock's hashes
RUN python runtime_lock.py pyproject.toml requirements.lock setuptools wheel > runtime.lock \
    && python -m venv /opt/jobstream \
    && /opt/jobstream/bin/pip install --no-cache-dir --require-hashes --no-deps -r runtime.lock
COPY . .
RUN /opt/jobstream/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/jobstream/bin/pip uninstall --yes setuptools wheel pip

FROM ${PYTHON_IMAGE}
# by number: hosts and volumes see numbers only
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/jobstream --shell /usr/sbin/nologin jobstream \
    && install -d -o 10001 -g 10001 -m 0750 /var/lib/jobstream
COPY --from=build /opt/jobstream /opt/jobstream
ENV PATH=/opt/jobstream/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    JOBSTREAM_HOME=/var/lib/jobstream
USER 10001:10001
WORKDIR /var/lib/jobstream
ENTRYPOINT ["jobstream"]
CMD ["--help"]
