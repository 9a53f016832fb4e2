"""`manage.py remove_node`: remove nodes with their containers."""

from infra_app.management.acting import ActCommand


class Command(ActCommand):
    """Remove nodes; tasks that run on them return to their queue."""

    help = "Remove nodes and their containers. Running tasks return to their queue; drain the nodes first to let tasks finish."
    verb = "remove"
    question = "Remove {} and return running tasks to their queue?"
