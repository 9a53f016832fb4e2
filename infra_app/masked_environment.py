"""A group's environment as it may be shown: with secrets masked."""

from infra_app.models import NodeGroup
from infra_app.variables import why_refused
from zenith_site.common.masking import mask


def environment_of(group: NodeGroup) -> dict[str, str]:
    """Return a group's environment with secrets masked: by their names, and passwords in URLs."""
    masked: dict[str, str] = mask(group.environment)
    return masked


def left_out(group: NodeGroup) -> list[str]:
    """Return the reasons why variables that are stored with a group are not passed to its nodes."""
    return [reason for name in sorted({*group.environment, *group.secrets}) if (reason := why_refused(name))]
