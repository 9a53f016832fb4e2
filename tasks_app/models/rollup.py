"""Outcomes by time, task and queue, which counters and charts read instead of the tasks."""

from typing import Final

from django.contrib.postgres.fields import ArrayField
from django.db import models

from tasks_app.models.application import NATIVE_ID, Application

#: The columns that are added up, and the histograms, which are added up bucket by bucket.
COUNT_COLUMNS: Final = ("succeeded", "failed", "revoked", "retried", "runtime_seconds", "waiting_seconds")
HISTOGRAM_COLUMNS: Final = ("runtime_histogram", "waiting_histogram")
#: The same for what tasks used, which few figures show.
USAGE_COUNT_COLUMNS: Final = ("cpu_seconds",)
USAGE_HISTOGRAM_COLUMNS: Final = ("cpu_histogram", "memory_histogram")


class Rollup(models.Model):
    """How many tasks of an application ended in a period, how long they ran and had waited, and what they used.

    The histograms count runs by bucket; recording/rollups.py has the bounds. An empty histogram counts as zeros.
    """

    id = models.BigAutoField(primary_key=True)
    # As in a task: no constraint, and an application with figures is never removed.
    application = models.ForeignKey(
        Application, on_delete=models.PROTECT, default=NATIVE_ID, db_default=NATIVE_ID, db_constraint=False, db_index=False
    )
    name = models.CharField(max_length=255)
    queue = models.CharField(max_length=255)
    succeeded = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    revoked = models.PositiveIntegerField(default=0)
    retried = models.PositiveIntegerField(default=0)
    runtime_seconds = models.FloatField(default=0.0)
    runtime_histogram = ArrayField(models.PositiveIntegerField())
    waiting_seconds = models.FloatField(default=0.0, db_default=0.0)
    waiting_histogram = ArrayField(models.PositiveIntegerField(), default=list, db_default=[])
    cpu_seconds = models.FloatField(default=0.0, db_default=0.0)
    cpu_histogram = ArrayField(models.PositiveIntegerField(), default=list, db_default=[])
    memory_histogram = ArrayField(models.PositiveIntegerField(), default=list, db_default=[])

    class Meta:
        abstract = True


class MinuteRollup(Rollup):
    """One minute, counted by the recorders."""

    minute = models.DateTimeField()

    class Meta:
        ordering = ("-minute",)
        constraints = (
            # recording/rollups.py adds to a row by this key; analytics/figures.py reads a window by it.
            models.UniqueConstraint(fields=("minute", "name", "queue", "application"), name="rollup_key"),
        )

    def __str__(self) -> str:
        return f"{self.minute:%Y-%m-%d %H:%M} {self.name}"


class PeriodRollup(Rollup):
    """A longer period, summed up from its minutes after its end, so that a month is read as fast as an hour.

    Besides a row for each task and queue of an application there is one for each of its queues (without a name) and one for all
    of its tasks (without either). For every period up to the newest there is at least one of the last: if no task ended in it,
    that of Zenith's own application.
    """

    class Scope(models.IntegerChoices):
        """The tasks of an application that a row sums up."""

        TASK = 0
        QUEUE = 1
        ALL = 2

    scope = models.PositiveSmallIntegerField(choices=Scope)
    seconds = models.PositiveIntegerField(help_text="How long it is; maintenance/compaction.py has the lengths.")
    start = models.DateTimeField()

    class Meta:
        ordering = ("-start",)
        constraints = (
            # analytics/figures.py: one task, one queue or all, over a window. The application is last, since they are few and
            # most figures are of all of them.
            models.UniqueConstraint(fields=("seconds", "scope", "name", "queue", "start", "application"), name="period_key"),
        )
        indexes = (
            # analytics/figures.py: every task in a window; maintenance/compaction.py: up to where it is done.
            models.Index(fields=("seconds", "scope", "start"), name="period_start"),
        )

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M} +{self.seconds} s {self.name}"


class LatePeriod(models.Model):
    """A period whose minutes changed after it may have been summed up, so it is summed up again."""

    start = models.DateTimeField(primary_key=True)
    touched_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M}"
