# One image for every process of Zenith. The command selects it: web (the default), worker, engine, agent, flower, or a one-off
# step: migrate, secrets, roles. `up` and `watch URL` run all of them in one container. Everything here works with the classic builder
# as well as with BuildKit.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=zenith_site.settings
WORKDIR /zenith
COPY requirements.txt requirements-flower.txt requirements-otel.txt requirements-embedded.txt ./
# An additional requirements file: requirements-otel.txt (docs/tracing.md), or requirements-embedded.txt (docs/deploy.md).
ARG EXTRA_REQUIREMENTS=
# Wheels only, so no compiler is needed. The finished environment gets no pip, no tests of packages and no translation sources,
# which are a sixth of its size. Bytecode with unchecked hashes is the same in every build, and needs no write at run time.
RUN python -m venv --without-pip /opt/venv \
 && python -m pip --python /opt/venv/bin/python install --quiet --no-compile --only-binary :all: \
      -r requirements.txt -r requirements-flower.txt ${EXTRA_REQUIREMENTS:+-r $EXTRA_REQUIREMENTS} \
 && find /opt/venv/lib -type d \( -name test -o -name tests \) ! -path '*/django/test' -prune -exec rm -rf {} + \
 && find /opt/venv/lib -name '*.po' -delete \
 && printf '#!/bin/sh\nexec python -m zenith_site "$@"\n' > /opt/venv/bin/zenith && chmod 755 /opt/venv/bin/zenith \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib
COPY . .
RUN ZENITH_DATA_DIR=/tmp/build ZENITH_STATIC_ROOT=/zenith/.static-root/static \
      /opt/venv/bin/python -c 'import django; django.setup(); from zenith_site.launch.static_files import collect_if_changed as c; c()' \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash infra_app tasks_app zenith_site zenith_worker manage.py
# Identifies what the build leaves behind.
LABEL io.zenith.stage=build

FROM ${BASE}
# A number, because Kubernetes' runAsNonRoot cannot look up a name. A volume takes its owner from the directory it is mounted at;
# /secrets is for docker-compose.yml.
RUN groupadd --gid 10001 zenith \
 && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin zenith \
 && install -d -o 10001 -g 10001 -m 0750 /data \
 && for name in postgres redis admin web worker engine agent flower; do install -d -o 10001 -g 10001 "/secrets/$name"; done
COPY --from=build /opt/venv /opt/venv
COPY --from=build /zenith /zenith
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/zenith \
    DJANGO_SETTINGS_MODULE=zenith_site.settings \
    ZENITH_ENV=production \
    ZENITH_HOST=0.0.0.0 \
    ZENITH_DATA_DIR=/data \
    ZENITH_STATIC_ROOT=/zenith/.static-root/static
WORKDIR /zenith
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=20s --timeout=20s --start-period=60s --retries=3 \
  CMD ["python", "-m", "zenith_site.launch.healthcheck"]
ENTRYPOINT ["python", "-m", "zenith_site.launch.container"]
CMD ["web"]
