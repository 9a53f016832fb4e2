"""A task's timeline, step by step."""

from django.db.models import F, QuerySet
from django.db.models.functions import Greatest

from tasks_app.models import Task, TaskEvent
from zenith_worker.wire.states import RANKS, Status


def timeline(task: Task) -> QuerySet[TaskEvent]:
    """Return a task's events in order of position, whatever the clocks say.

    Notes (changes of a task before it was sent) come after the first step, in the order in which they were written.
    """
    return TaskEvent.objects.filter(task=task).order_by(Greatest(F("position"), RANKS[Status.SCHEDULED]), "id")
