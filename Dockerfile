# One image for every room. Built in two stages: what installs it stays behind.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
COPY . /src
RUN python3 -m venv /opt/podwire \
 && /opt/podwire/bin/pip install --no-cache-dir --disable-pip-version-check '/src[etcd]' \
 && /opt/podwire/bin/python -m compileall -q /opt/podwire/lib \
 && /opt/podwire/bin/pip uninstall --yes --quiet pip setuptools

FROM ${PYTHON_IMAGE}
# The user owns the folder that a fresh volume is filled from; nothing else is writable.
RUN groupadd --gid 10001 podwire \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent podwire \
 && install -d -o podwire -g podwire /etc/podwire/pki /run/podwire
COPY --from=build /opt/podwire /opt/podwire
ENV PATH=/opt/podwire/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
ENTRYPOINT ["python"]
CMD ["-m", "podwire", "--help"]
