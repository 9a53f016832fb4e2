"""`manage.py drain_node`: drain nodes, and stop them once drained."""

from infra_app.management.acting import ActCommand


class Command(ActCommand):
    """Drain nodes; the stopped nodes stay and can be started again."""

    help = "Drain nodes: they accept no new tasks, finish the tasks they have, and stop."
    verb = "drain"
    question = "Drain {}?"
