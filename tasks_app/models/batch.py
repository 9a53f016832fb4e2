"""One dispatch of one or many tasks."""

from django.conf import settings
from django.db import models

from tasks_app.models.ids import new_id


class Batch(models.Model):
    """A dispatch: who asked, for what, and how many. Its progress is counted from its tasks."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    task_name = models.CharField(max_length=255)
    size = models.PositiveIntegerField(help_text="How many tasks were asked for.")
    source = models.CharField(max_length=16, help_text="page, api, command or engine")
    sent_by = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField()
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    # With the caller in front: one caller's key can never answer for another's.
    idempotency_key = models.CharField(max_length=400, null=True, blank=True)  # noqa: DJ001 -- NULLs do not collide in the unique constraint, '' would
    idempotency_digest = models.BinaryField(max_length=32, null=True, blank=True)

    class Meta:
        verbose_name_plural = "batches"
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(condition=models.Q(size__gte=1), name="batch_size_positive"),
            # dispatch/idempotency.py: of two concurrent requests with one key, one inserts.
            models.UniqueConstraint(fields=("idempotency_key",), name="batch_idempotency_key"),
        )

    def __str__(self) -> str:
        return f"{self.task_name} ({self.size})"
