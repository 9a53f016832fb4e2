"""The admin for tasks: to look, not to touch, since dispatch and tracking are the only writers."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest

from tasks_app.models import Batch, MinuteRollup, Task, TaskEvent

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
    exclude = ("idempotency_digest",)


@admin.register(MinuteRollup)
class MinuteRollupAdmin(ReadOnlyAdmin):
    """Outcomes per minute, newest first."""

    list_display = ("minute", "name", "queue", "succeeded", "failed", "revoked", "retried")
    search_fields = ("=name", "=queue")
