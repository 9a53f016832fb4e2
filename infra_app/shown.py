"""What may be shown of a group: everything but its secrets."""

from infra_app.models import NodeGroup
from zenith_site.common.masking import mask


def environment_of(group: NodeGroup) -> dict[str, str]:
    """Return its environment with what is secret hidden: by its name, or because a URL has a password in it."""
    shown: dict[str, str] = mask(group.environment)
    return shown
