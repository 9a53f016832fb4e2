"""Replay runs: replays of many dead letters, which engines carry out in chunks."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from tasks_app.models.dead_letter import Selection
from zenith_worker.wire.ids import new_id


class RunState(models.TextChoices):
    """The state of a replay run."""

    RUNNING = "RUNNING", "Running"
    WATCHING = "WATCHING", "Watching"
    DONE = "DONE", "Done"
    STOPPED = "STOPPED", "Stopped"

    @property
    def sentence(self) -> str:
        """What this state means, in one sentence for pages and API documentation."""
        return _SENTENCES[self]


_SENTENCES = {
    RunState.RUNNING: "Dead letters are being replayed.",
    RunState.WATCHING: "The first few were replayed; the rest follow if all of them succeed.",
    RunState.DONE: "All selected dead letters have been replayed.",
    RunState.STOPPED: "It ended early; see its reason.",
}

#: States in which an engine still has work to do.
ACTIVE = (RunState.RUNNING, RunState.WATCHING)


class ReplayRun(models.Model):
    """The letters to replay, how, and the progress. Only dispatch/replay.py and dispatch/replay_runner.py write it.

    Only letters up to `newest` are replayed: a replay that fails again writes a new letter, perhaps of the same group, and the
    run must not chase its own failures.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    state = models.CharField(max_length=8, choices=RunState, default=RunState.RUNNING)
    # The selection; see Selection.
    task_ids = ArrayField(models.UUIDField(), null=True, blank=True)
    fingerprint = models.CharField(max_length=32, blank=True, default="")
    task_name = models.CharField(max_length=255, blank=True, default="")
    error_type = models.CharField(max_length=255, blank=True, default="")
    newest = models.BigIntegerField(help_text="Id of the newest dead letter that is meant.")
    # How.
    kwargs = models.JSONField(default=dict, blank=True, help_text="Replace the tasks' own arguments of these names.")
    forced = models.BooleanField(default=False, help_text="Also what was replayed or discarded before.")
    first = models.PositiveIntegerField(default=0, help_text="So many first; the rest only if they succeed.")
    rate = models.FloatField(null=True, blank=True, help_text="Tasks per second at most.")
    source = models.CharField(max_length=16, help_text="page, api, command or engine")
    sent_by = models.CharField(max_length=200, blank=True, default="")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    # How far.
    total = models.PositiveIntegerField(help_text="Dead letters that were meant when it began.")
    replayed = models.PositiveIntegerField(default=0)
    cursor = models.BigIntegerField(default=0, help_text="Id of the newest dead letter that was handled.")
    first_ids = ArrayField(models.UUIDField(), default=list, blank=True)
    next_at = models.DateTimeField(help_text="When an engine looks at it again.")
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(blank=True, default="")

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(condition=Q(state__in=RunState.values), name="run_state_known"),
            models.CheckConstraint(
                condition=Q(state__in=ACTIVE, finished_at__isnull=True) | (~Q(state__in=ACTIVE) & Q(finished_at__isnull=False)),
                name="run_finished_has_time",
            ),
            models.CheckConstraint(condition=Q(rate__isnull=True) | Q(rate__gt=0), name="run_rate_positive"),
        )
        indexes = (
            # dispatch/replay_runner.py: what is due next. Small: few runs are active.
            models.Index(fields=("next_at",), name="run_active", condition=Q(state__in=ACTIVE)),
        )

    def __str__(self) -> str:
        return f"{self.replayed} of {self.total} replayed"

    @property
    def selection(self) -> Selection:
        """The dead letters of this run."""
        return Selection(
            task_ids=self.task_ids, fingerprint=self.fingerprint, task_name=self.task_name,
            error_type=self.error_type,
        )  # fmt: skip
