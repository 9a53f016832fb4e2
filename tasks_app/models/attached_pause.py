"""Paused queues of attached applications: a row for each, deleted when it is resumed."""

from django.db import models

from tasks_app.models.application import Application


class AttachedPause(models.Model):
    """A paused queue of an attached application: its workers do not consume it (zenith_worker/wire/pauses.py), and
    dispatch/hand_over.py hands nothing over for it."""

    application = models.ForeignKey(Application, on_delete=models.CASCADE)
    queue = models.CharField(max_length=255)
    paused_at = models.DateTimeField()
    paused_by = models.CharField(max_length=200)
    note = models.TextField(blank=True, default="")

    class Meta:
        ordering = ("application", "queue")
        constraints = (models.UniqueConstraint(fields=("application", "queue"), name="attached_pause_once"),)

    def __str__(self) -> str:
        return self.queue
