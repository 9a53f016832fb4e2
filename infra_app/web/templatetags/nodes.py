"""Template filters of the node pages."""

from django import template

from infra_app.queries import COLOURS
from infra_app.states import NodeStatus

register = template.Library()


@register.filter
def node_colour(status: str) -> str:
    """Return the CSS class suffix of a node's status."""
    return COLOURS[NodeStatus(status)]
