"""The admin for tasks: to look, not to touch, since dispatch and tracking are the only writers.

What can be done here calls dispatch, as the pages and the API do.
"""

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django_celery_results.admin import TaskResultAdmin
from django_celery_results.models import TaskResult

from tasks_app.dispatch.create import Origin
from tasks_app.dispatch.replay import Replay, discard, replay
from tasks_app.models import Attempt, Batch, DeadLetter, MinuteRollup, QueuePause, ReplayRun, Task, TaskEvent
from tasks_app.models.dead_letter import Selection
from tasks_app.queries.arguments import shown_arguments
from zenith_site.common.callers import OPERATE, Caller, caller_of, known_caller, note
from zenith_site.common.masking import mask, mask_json, mask_text

if TYPE_CHECKING:
    # Generic for the type checker only.
    AnyModelAdmin = admin.ModelAdmin[Any]
else:
    AnyModelAdmin = admin.ModelAdmin


class ReadOnlyAdmin(AnyModelAdmin):
    """Shows rows that nobody may add, change or delete by hand."""

    # Counting millions of rows costs more than the number is worth.
    show_full_result_count = False
    list_per_page = 50

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return a row to be looked at: in memory its secrets are hidden; nothing here writes it back."""
        found = super().get_object(request, object_id, from_field)
        if found is not None:
            _hide_secrets(found)
        return found

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody may."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody may."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody may."""
        return False


@admin.register(Task)
class TaskAdmin(ReadOnlyAdmin):
    """Tasks, newest first."""

    list_display = ("id", "name", "status", "queue", "worker", "created_at", "runtime")
    list_filter = ("status",)
    search_fields = ("=id", "=name", "=worker")


@admin.register(TaskEvent)
class TaskEventAdmin(ReadOnlyAdmin):
    """Steps of tasks, newest first."""

    list_display = ("id", "task_id", "status", "attempt", "worker", "at")
    list_filter = ("status",)
    search_fields = ("=task__id",)
    ordering = ("-id",)


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin):
    """Dispatches, newest first."""

    list_display = ("id", "task_name", "size", "source", "sent_by", "created_at")
    list_filter = ("source",)
    search_fields = ("=id", "=task_name", "sent_by")


@admin.register(MinuteRollup)
class MinuteRollupAdmin(ReadOnlyAdmin):
    """Outcomes per minute, newest first."""

    list_display = ("minute", "name", "queue", "succeeded", "failed", "revoked", "retried")
    search_fields = ("=name", "=queue")


@admin.register(QueuePause)
class QueuePauseAdmin(ReadOnlyAdmin):
    """Queues that are paused; resuming one takes more than removing a row."""

    list_display = ("queue", "paused_at", "paused_by", "note")


@admin.register(Attempt)
class AttemptAdmin(ReadOnlyAdmin):
    """Runs that went wrong, newest first."""

    list_display = ("task_id", "attempt", "outcome", "error_type", "worker", "finished_at")
    list_filter = ("outcome",)
    search_fields = ("=task__id", "=error_type")
    ordering = ("-id",)


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    """Tasks that gave up, newest first."""

    list_display = ("task_id", "task_name", "error_type", "shown_message", "state", "created_at", "resolved_by")
    list_filter = ("state",)
    search_fields = ("=task__id", "=task_name", "=error_type", "=fingerprint")
    actions = ("replay_chosen", "discard_chosen")

    @admin.display(description="message", ordering="message")
    def shown_message(self, letter: DeadLetter) -> str:
        """The message without secrets."""
        return mask_text(letter.message)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whether the user may decide about dead letters: those who may step in."""
        return known_caller(request).may(OPERATE)

    @admin.action(description="Replay the chosen dead letters", permissions=["operate"])
    def replay_chosen(self, request: HttpRequest, chosen: QuerySet[DeadLetter]) -> None:
        """Send new tasks in their place; those decided about before stay as they are."""
        result = replay(Replay(which=_selection(chosen)), _origin(caller_of(request, OPERATE)))
        total = result.run.total if result.run else len(result.done)
        note(request, replayed=total)
        self.message_user(request, f"{total} dead letters replayed, {result.passed_over} passed over.", messages.SUCCESS)

    @admin.action(description="Discard the chosen dead letters", permissions=["operate"])
    def discard_chosen(self, request: HttpRequest, chosen: QuerySet[DeadLetter]) -> None:
        """Leave it at that."""
        count = discard(_selection(chosen), "", _origin(caller_of(request, OPERATE)))
        note(request, discarded=count)
        self.message_user(request, f"{count} dead letters discarded.", messages.SUCCESS)


@admin.register(ReplayRun)
class ReplayRunAdmin(ReadOnlyAdmin):
    """Replays of many, newest first."""

    list_display = ("id", "state", "replayed", "total", "first", "rate", "sent_by", "created_at", "reason")
    list_filter = ("state",)


admin.site.unregister(TaskResult)


@admin.register(TaskResult)
class MaskedTaskResultAdmin(ReadOnlyAdmin, TaskResultAdmin):
    """django-celery-results' own page, to look only: what is hidden on it must not be saved."""


def _hide_secrets(row: Any) -> None:
    """Hide in memory what a row of any of these models may tell."""
    if isinstance(row, Task):
        row.args, row.kwargs = shown_arguments(row)
    elif isinstance(row, ReplayRun):
        row.kwargs = mask(row.kwargs)
    for name in ("error_message", "message", "traceback"):
        if text := getattr(row, name, None):
            setattr(row, name, mask_text(text))
    for name in ("result", "task_args", "task_kwargs"):
        if text := getattr(row, name, None):
            setattr(row, name, mask_text(mask_json(text)))


def _selection(chosen: QuerySet[DeadLetter]) -> Selection:
    return Selection(task_ids=tuple(chosen.values_list("task_id", flat=True)))


def _origin(caller: Caller) -> Origin:
    return Origin(source="page", sent_by=caller.name, user_id=caller.user.pk)
