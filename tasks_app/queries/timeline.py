"""A task's timeline, step by step."""

from django.db.models import Case, F, Max, QuerySet, When, Window
from django.db.models.functions import Greatest

from tasks_app.models import Task, TaskEvent


def timeline(task: Task) -> QuerySet[TaskEvent]:
    """Return a task's events in order of position, whatever the clocks say.

    Notes (negative positions: changes of a task before it was sent, and who asked a watched application to cancel it) come after
    the steps that were recorded before them, in the order in which they were written.
    """
    step_before = Greatest(Window(Max("position"), order_by=F("id").asc()), 0)
    place = Case(When(position__lt=0, then=step_before), default=F("position"))
    return TaskEvent.objects.filter(task=task).order_by(place, "id")
