"""Outcomes per minute, task and queue: what the counters and charts read instead of the tasks."""

from django.contrib.postgres.fields import ArrayField
from django.db import models


class MinuteRollup(models.Model):
    """How many tasks ended in one minute, and how long they ran.

    `runtime_histogram` counts runtimes by bucket; tracking/rollup.py has the bounds.
    """

    id = models.BigAutoField(primary_key=True)
    minute = models.DateTimeField()
    name = models.CharField(max_length=255)
    queue = models.CharField(max_length=100)
    succeeded = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    revoked = models.PositiveIntegerField(default=0)
    retried = models.PositiveIntegerField(default=0)
    runtime_seconds = models.FloatField(default=0.0)
    runtime_histogram = ArrayField(models.PositiveIntegerField())

    class Meta:
        ordering = ("-minute",)
        constraints = (
            # tracking/rollup.py adds to a row by this key; insight/counters.py reads a window by it.
            models.UniqueConstraint(fields=("minute", "name", "queue"), name="rollup_key"),
        )

    def __str__(self) -> str:
        return f"{self.minute:%Y-%m-%d %H:%M} {self.name}"
