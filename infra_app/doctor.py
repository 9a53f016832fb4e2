"""Docker hosts: whether their agents live and reach their engines."""

from collections.abc import Iterator

from django.conf import settings

from infra_app.images import is_pattern
from infra_app.masked_environment import left_out
from infra_app.models import Host, NodeGroup
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


@check("images of nodes")
def images() -> Iterator[Finding]:
    """Each pattern of images that nodes may run can match one."""
    for pattern in settings.ZENITH_ALLOWED_IMAGES:
        if not is_pattern(pattern):
            yield error(
                f"ZENITH_ALLOWED_IMAGES names {pattern!r}, which is no image and no pattern of images",
                "write it as registry.example.com/zenith/*:1.4; docs/nodes.md has the rules",
            )


@check("Variables of nodes", POSTGRESQL)
def variables() -> Iterator[Finding]:
    """Each group's nodes are given all variables that are stored with it."""
    for group in NodeGroup.objects.filter(removed_at=None).order_by("name"):
        for reason in left_out(group):
            yield warning(
                f"Not given to the nodes of {group.name}: {reason}", "ZENITH_NODE_ENVIRONMENT, or take it out of the group"
            )
