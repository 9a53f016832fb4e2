"""What may be shown of a group: everything but its secrets."""

from infra_app.models import NodeGroup
from infra_app.variables import why_refused
from zenith_site.common.masking import mask


def environment_of(group: NodeGroup) -> dict[str, str]:
    """Return its environment with what is secret hidden: by its name, or because a URL has a password in it."""
    shown: dict[str, str] = mask(group.environment)
    return shown


def left_out(group: NodeGroup) -> list[str]:
    """Say of each variable that is stored with a group and that its nodes are not given, why."""
    return [reason for name in sorted({*group.environment, *group.secrets}) if (reason := why_refused(name))]
