"""The admin for tasks. It is read-only, since dispatch and recording are the only writers.

Its actions call dispatch, as the pages and the API do.
"""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django_celery_results.admin import TaskResultAdmin
from django_celery_results.models import GroupResult, TaskResult

from tasks_app.dispatch.create import Origin
from tasks_app.dispatch.replay import Replay, discard, replay
from tasks_app.models import (
    Application,
    AttachedPause,
    Attempt,
    Batch,
    DeadLetter,
    MinuteRollup,
    QueuePause,
    ReplayRun,
    Task,
    TaskEvent,
)
from tasks_app.models.dead_letter import Selection
from tasks_app.queries.arguments import preview
from zenith_site.common.admin import ReadOnlyAdmin
from zenith_site.common.callers import OPERATE, Shows, audit_details, authorize, known_caller
from zenith_site.common.masking import mask, mask_text
from zenith_site.common.previews import shorten


@admin.register(Application)
class ApplicationAdmin(ReadOnlyAdmin):
    """Applications; they announce themselves."""

    list_display = ("name", "kind", "main", "celery_version", "python_version", "first_heard_at", "last_heard_at")
    list_filter = ("kind",)


@admin.register(Task)
class TaskAdmin(ReadOnlyAdmin):
    """Tasks, newest first."""

    list_display = ("id", "name", "status", "queue", "worker", "created_at", "runtime")
    list_filter = ("status",)
    search_fields = ("=id", "=name", "=worker")

    def hide_secrets(self, row: Any) -> None:
        """Mask secrets in the arguments, too."""
        super().hide_secrets(row)
        row.args, row.kwargs, _ = preview(row)


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

    list_display = ("minute", "name", "queue", "application", "succeeded", "failed", "revoked", "retried")
    search_fields = ("=name", "=queue")


@admin.register(QueuePause)
class QueuePauseAdmin(ReadOnlyAdmin):
    """Paused queues; resuming one takes more than removing its row."""

    list_display = ("queue", "paused_at", "paused_by", "note")


@admin.register(AttachedPause)
class AttachedPauseAdmin(ReadOnlyAdmin):
    """Paused queues of attached applications; resuming one takes more than removing its row."""

    list_display = ("application", "queue", "paused_at", "paused_by", "note")


@admin.register(Attempt)
class AttemptAdmin(ReadOnlyAdmin):
    """Failed attempts, newest first."""

    list_display = ("task_id", "attempt", "outcome", "error_type", "worker", "finished_at")
    list_filter = ("outcome",)
    search_fields = ("=task__id", "=error_type")
    ordering = ("-id",)


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    """Dead letters, newest first."""

    list_display = ("task_id", "task_name", "error_type", "shown_message", "state", "application", "created_at", "resolved_by")
    list_filter = ("state",)
    search_fields = ("=task__id", "=task_name", "=error_type", "=fingerprint")
    actions = ("replay_chosen", "discard_chosen")

    @admin.display(description="message")  # not sortable: the order would reveal the secrets that are masked in it
    def shown_message(self, letter: DeadLetter) -> str:
        """Return the message without secrets."""
        return mask_text(letter.message)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may replay and discard dead letters."""
        return known_caller(request).may(OPERATE)

    @admin.action(description="Replay the selected dead letters", permissions=["operate"])
    def replay_chosen(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> None:
        """Dispatch a new task in place of each; letters already replayed or discarded stay as they are."""
        result = replay(Replay(selection=_selection(letters)), Origin.of(authorize(request, OPERATE, Shows.EVERYTHING), "page"))
        total = result.run.total if result.run else len(result.done)
        audit_details(request, replayed=total)
        self.message_user(request, f"{total} dead letters replayed, {result.passed_over} skipped.", messages.SUCCESS)

    @admin.action(description="Discard the selected dead letters", permissions=["operate"])
    def discard_chosen(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> None:
        """Discard the open ones; their tasks stay as they are."""
        count = discard(_selection(letters), "", Origin.of(authorize(request, OPERATE, Shows.EVERYTHING), "page"))
        audit_details(request, discarded=count)
        self.message_user(request, f"{count} dead letters discarded.", messages.SUCCESS)


@admin.register(ReplayRun)
class ReplayRunAdmin(ReadOnlyAdmin):
    """Replay runs, newest first."""

    list_display = ("id", "state", "replayed", "total", "first", "rate", "sent_by", "created_at", "reason")
    list_filter = ("state",)

    def hide_secrets(self, row: Any) -> None:
        """Mask secrets in the arguments, too."""
        super().hide_secrets(row)
        row.kwargs = mask(shorten(row.kwargs)[0])


admin.site.unregister(TaskResult)


@admin.register(TaskResult)
class MaskedTaskResultAdmin(ReadOnlyAdmin, TaskResultAdmin):
    """django-celery-results' own page, read-only: masked values must be neither saved nor searched."""

    search_fields = ("=task_id", "=task_name")


admin.site.unregister(GroupResult)


@admin.register(GroupResult)
class GroupResultAdmin(ReadOnlyAdmin):
    """Results of groups, newest first."""

    list_display = ("group_id", "date_done")
    list_filter = ("date_done",)
    search_fields = ("=group_id",)


def _selection(letters: QuerySet[DeadLetter]) -> Selection:
    return Selection(task_ids=tuple(letters.values_list("task_id", flat=True)))
