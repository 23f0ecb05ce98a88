# Both halves in one image: `nodewall controller` and `nodewall agent`. Which user and which capabilities is up to manifests/.
#
# BASE is pinned by date. The digest is yours to add (BASE=debian:trixie-20251117-slim@sha256:...): only who builds knows which
# copy was checked. libnftables and its Python binding come from the distribution, so both stages use the same base.
ARG BASE=debian:trixie-20251117-slim

FROM ${BASE} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-pip python3-setuptools python3-venv
WORKDIR /src
COPY requirements/run.txt requirements/run.txt
# Where an index or certificates of one's own are needed: --secret id=pip.conf,src=FILE --secret id=pip-ca.pem,src=FILE.
# The second one is at /run/secrets/pip-ca.pem for the first one to name. Neither is part of any layer.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=pip-ca.pem \
    python3 -m venv --without-pip /opt/nodewall \
    && python3 -m pip --python /opt/nodewall/bin/python install --no-cache-dir --no-compile --only-binary=:all: \
        --require-hashes -r requirements/run.txt \
    && rm /opt/nodewall/bin/activate* /opt/nodewall/bin/Activate* \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/nodewall/lib
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
# The package is built by the distribution's setuptools, so nothing is fetched that the lock does not name.
RUN python3 -m pip wheel --no-cache-dir --no-deps --no-build-isolation --no-index --wheel-dir /wheels . \
    && python3 -m pip --python /opt/nodewall/bin/python install --no-cache-dir --no-compile \
        --no-deps --no-index /wheels/nodewall-*.whl \
    && ln -s /usr/lib/python3/dist-packages/nftables "$(echo /opt/nodewall/lib/python3*/site-packages)/nftables" \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/nodewall/lib/python3*/site-packages/nodewall

FROM ${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-nftables \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* \
    && find / -xdev -perm /6000 -exec chmod a-s {} +
COPY --from=build /opt/nodewall /opt/nodewall
ENV PATH=/opt/nodewall/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# The agent needs UID 0 and says so in its manifest; whoever just runs the image does not get it.
USER 65532:65532
ENTRYPOINT ["nodewall"]
