"""Samples of the workers' load and the queues' length, minute by minute."""

from django.db import models

from tasks_app.models.application import NATIVE_ID, Application


class LoadSample(models.Model):
    """One minute: sums over its samples. Divide by `looks` for the mean."""

    minute = models.DateTimeField(primary_key=True)
    sampled_at = models.DateTimeField(help_text="When the newest look was taken.")
    looks = models.PositiveIntegerField()
    workers = models.PositiveIntegerField()
    slots = models.PositiveIntegerField()
    busy = models.PositiveIntegerField()

    class Meta:
        ordering = ("-minute",)

    def __str__(self) -> str:
        return f"{self.minute:%Y-%m-%d %H:%M}"


class QueueSample(models.Model):
    """One queue of an application in the newest sample of one minute."""

    id = models.BigAutoField(primary_key=True)
    # As in a rollup.
    application = models.ForeignKey(
        Application, on_delete=models.PROTECT, default=NATIVE_ID, db_default=NATIVE_ID, db_constraint=False, db_index=False
    )
    minute = models.DateTimeField()
    queue = models.CharField(max_length=255)
    depth = models.PositiveIntegerField(help_text="Messages that waited on the broker.")
    unacknowledged = models.PositiveIntegerField(help_text="Messages that workers held; 0 of other applications: not known.")
    oldest_seconds = models.FloatField(null=True, help_text="How long the oldest waiting one had waited.")

    class Meta:
        ordering = ("-minute",)
        constraints = (
            # maintenance/samples.py writes by it; queries/queues.py reads one queue's history.
            models.UniqueConstraint(fields=("queue", "minute", "application"), name="queue_sample_key"),
        )
        indexes = (
            # queries/queues.py: all queues of the newest minutes; maintenance/retention.py: the oldest.
            models.Index(fields=("minute",), name="queue_sample_minute"),
        )

    def __str__(self) -> str:
        return f"{self.minute:%Y-%m-%d %H:%M} {self.queue}"
