"""One task in full detail."""

from dataclasses import dataclass

from django.utils import timezone

from tasks_app.models import TaskEvent
from tasks_app.models.application import NATIVE_ID, Visible
from tasks_app.queries import tasks
from tasks_app.queries.attached_explanation import explain_attached_status
from tasks_app.queries.attempts import AttemptView, attempts_of
from tasks_app.queries.lineage import Lineage, lineage
from tasks_app.queries.status_explanation import explain_status
from tasks_app.queries.task_spans import TaskSpans, task_spans
from tasks_app.queries.tasks import TaskWithResult
from tasks_app.queries.timeline import timeline
from zenith_site.common.previews import SHOWN


@dataclass(frozen=True, slots=True)
class TaskDetail:
    """A task with its events (oldest first), runs (newest first), spans and relatives, and why it is in its status."""

    task_with_result: TaskWithResult
    events: list[TaskEvent]
    attempts: list[AttemptView]
    course: TaskSpans
    lineage: Lineage
    why: str


def detail(task_id: str, limit: int = SHOWN, visible: Visible = None) -> TaskDetail | None:
    """Return one task, in ten queries at most, or None for an unknown id.

    `limit`: how many characters of its arguments, its result and its error are shown. `visible`: the applications that the
    caller may see.
    """
    task_with_result = tasks.find(task_id, limit, visible)
    if task_with_result is None:
        return None
    task = task_with_result.task
    why = explain_status(task) if task.application_id == NATIVE_ID else explain_attached_status(task)
    events = list(timeline(task))
    runs = attempts_of(task, events)
    spans = task_spans(task, events, runs, timezone.now())
    return TaskDetail(task_with_result, events, runs, spans, lineage(task, visible), why)
