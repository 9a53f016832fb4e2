"""What happened to one task, step by step."""

from django.db.models import F, QuerySet
from django.db.models.functions import Greatest

from tasks_app.models import Task, TaskEvent
from zenith_worker.wire.states import RANKS, Status


def timeline(task: Task) -> QuerySet[TaskEvent]:
    """Return a task's steps in their order: by position, whatever the clocks say.

    A note (a change of a task that was not sent yet) stands after the first step, in the order of writing.
    """
    return TaskEvent.objects.filter(task=task).order_by(Greatest(F("position"), RANKS[Status.SCHEDULED]), "id")
