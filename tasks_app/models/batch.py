"""One dispatch of one or many tasks."""

from django.conf import settings
from django.db import models

from zenith_worker.wire.ids import new_id


class Batch(models.Model):
    """A dispatch: who sent which task, and how many. Its progress is counted from its tasks."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    task_name = models.CharField(max_length=255)
    size = models.PositiveIntegerField(help_text="How many tasks were asked for.")
    source = models.CharField(max_length=16, help_text="page, api, command or engine")
    sent_by = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField()
    # The request's id and, if tracing is on, its span: messages that a relay sends later carry them, too.
    headers = models.JSONField(default=dict, db_default={}, help_text="Headers that every message of it carries.")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)

    class Meta:
        verbose_name_plural = "batches"
        ordering = ("-id",)
        constraints = (models.CheckConstraint(condition=models.Q(size__gte=1), name="batch_size_positive"),)
        indexes = (
            # queries/batches.py: batches of one task, newest first.
            models.Index(fields=("task_name", "id"), name="batch_by_task"),
        )

    def __str__(self) -> str:
        return f"{self.task_name} ({self.size})"
