# One image for every process of Zenith; the command names which: web (the default), worker, engine, agent, flower, or
# one of the steps that end: migrate, secrets, roles.
# Everything here works with the classic builder as well as with BuildKit.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=zenith_site.settings
WORKDIR /zenith
COPY requirements.txt requirements-flower.txt requirements-otel.txt ./
# One more list of requirements, such as requirements-otel.txt (docs/tracing.md).
ARG EXTRA_REQUIREMENTS=
# Wheels only: no compiler is needed here, and none can slip in. Nobody installs into the finished environment: it gets no pip,
# and neither the packages' own tests nor the sources of their translations, which are a sixth of it. Bytecode that does not
# name the time of its source is the same in every build, and nothing has to be written at run time.
RUN python -m venv --without-pip /opt/venv \
 && python -m pip --python /opt/venv/bin/python install --quiet --no-compile --only-binary :all: \
      -r requirements.txt -r requirements-flower.txt ${EXTRA_REQUIREMENTS:+-r $EXTRA_REQUIREMENTS} \
 && find /opt/venv/lib -type d \( -name test -o -name tests \) ! -path '*/django/test' -prune -exec rm -rf {} + \
 && find /opt/venv/lib -name '*.po' -delete \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib
COPY . .
RUN ZENITH_DATA_DIR=/tmp/build ZENITH_STATIC_ROOT=/zenith/.static-root/static \
      /opt/venv/bin/python -c 'import django; django.setup(); from zenith_site.launch.static_files import collect_if_changed as c; c()' \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash infra_app tasks_app zenith_site zenith_worker manage.py
# So that what is left of it can be told from other images.
LABEL io.zenith.stage=build

FROM ${BASE}
# A number, not a name: Kubernetes' runAsNonRoot cannot look a name up. A volume gets its owner from the directory
# that it is mounted at; /secrets is for docker-compose.yml.
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
