"""Paused queues: a row for each, deleted when it is resumed."""

from django.db import models


class QueuePause(models.Model):
    """A paused queue: dispatch/publish.py sends nothing to it, and zenith_worker/consumers.py consumes nothing from it."""

    queue = models.CharField(max_length=255, primary_key=True)
    paused_at = models.DateTimeField()
    paused_by = models.CharField(max_length=200)
    note = models.TextField(blank=True, default="")

    class Meta:
        ordering = ("queue",)

    def __str__(self) -> str:
        return self.queue
