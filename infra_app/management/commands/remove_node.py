"""`manage.py remove_node`: remove nodes with their containers."""

from infra_app.management.acting import ActCommand


class Command(ActCommand):
    """Remove nodes; what runs on them is handed back to its queue."""

    help = "Remove nodes with their containers. What runs on them is handed back; drain them first to have it finished."
    verb = "remove"
    question = "Remove {} with its container and hand back what runs there?"
