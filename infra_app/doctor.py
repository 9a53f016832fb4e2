"""Docker hosts: whether their agents live and reach their engines."""

from collections.abc import Iterator

from infra_app.models import Host
from zenith_site.doctor.registry import POSTGRESQL, Finding, check, error, warning


@check("Docker hosts", POSTGRESQL)
def hosts() -> Iterator[Finding]:
    """Each known host's agent lives and reaches its engine."""
    for host in Host.objects.all():
        if not host.agent_online:
            yield warning(
                f"The agent of Docker host {host.name} gives no sign of life", "manage.py run_agent there; or forget the host"
            )
        elif host.engine_error:
            yield error(f"The agent of {host.name} cannot reach its engine: {host.engine_error}", "systemctl status docker there")
