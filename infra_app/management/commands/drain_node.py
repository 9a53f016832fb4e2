"""`manage.py drain_node`: have nodes take nothing more, finish what they have, and stop."""

from infra_app.management.acting import ActCommand


class Command(ActCommand):
    """Drain nodes; they stay, stopped, and can be started again."""

    help = "Have nodes take nothing more, finish what they have, and stop."
    verb = "drain"
    question = "Drain {}?"
