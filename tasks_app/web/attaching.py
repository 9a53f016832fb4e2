"""What attaching adds to a watched application, for its page: what, how it is while watched, and how it is once attached."""

from typing import Final, NamedTuple


class Difference(NamedTuple):
    """One thing that differs."""

    what: str
    watched: str
    attached: str


DIFFERENCES: Final = (
    Difference("Arguments and results", "Python's text of them, cut by the sender", "The exact values, with their types"),
    Difference("Sending tasks", "Not possible", "From forms made of their signatures, the API and commands"),
    Difference(
        "Running again, replaying", "Not possible: the arguments are not exact", "One, some or all; also with other arguments"
    ),
    Difference("Cancelling", "Celery's revoke, which a restarted worker forgets", "Lasts, whichever worker gets the task"),
    Difference("Pausing and purging queues", "Not possible", "By its workers"),
    Difference(
        "Tasks that wait",
        "Known once a worker receives them, or with task_send_sent_event",
        "Known once sent, if the sender is attached too",
    ),
    Difference("Attempts", "Counted along from the events that arrive", "Each with its error, worker and times"),
    Difference("While Zenith is away", "What happens is lost, and shown as a gap", "Reports wait in the workers, and follow"),
    Difference(
        "Guards", "None", "If asked for: claims (a task does not run twice), recovery (of what dead workers held), retries"
    ),
)
