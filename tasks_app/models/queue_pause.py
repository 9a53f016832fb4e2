"""Queues that are paused: a row for each, gone when it is resumed."""

from django.db import models


class QueuePause(models.Model):
    """A paused queue. dispatch/publish.py sends nothing to it; zenith_worker/consumers.py takes nothing from it."""

    queue = models.CharField(max_length=255, primary_key=True)
    paused_at = models.DateTimeField()
    paused_by = models.CharField(max_length=200)
    note = models.TextField(blank=True, default="")

    class Meta:
        ordering = ("queue",)

    def __str__(self) -> str:
        return self.queue
