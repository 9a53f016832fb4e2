"""Dead letters: failed tasks that wait for a decision."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import models
from django.db.models import Q

from tasks_app.models.application import NATIVE_ID, Application, Visible, of_application, of_visible
from tasks_app.models.task import Task


class LetterState(models.TextChoices):
    """The state of a dead letter."""

    OPEN = "OPEN", "Open"
    REPLAYED = "REPLAYED", "Replayed"
    DISCARDED = "DISCARDED", "Discarded"

    @property
    def sentence(self) -> str:
        """What this state means, in one sentence for pages and API documentation."""
        return _SENTENCES[self]


_SENTENCES = {
    LetterState.OPEN: "Waiting for a decision.",
    LetterState.REPLAYED: "A new task was sent in its place.",
    LetterState.DISCARDED: "Closed without running it again.",
}


class DeadLetter(models.Model):
    """The last failure of one task, written in the transaction that records the failure.

    `fingerprint` groups failures with the same cause (fingerprint.py). `message` is normalised; the task has the original one.
    The row may be pruned before its task (maintenance/retention.py).
    """

    id = models.BigAutoField(primary_key=True)
    task = models.OneToOneField(Task, on_delete=models.CASCADE, related_name="dead_letter")
    # The task's, which never changes. No constraint: an application with tasks is never removed.
    application = models.ForeignKey(
        Application, on_delete=models.PROTECT, default=NATIVE_ID, db_default=NATIVE_ID, db_constraint=False, db_index=False
    )
    fingerprint = models.CharField(max_length=32)
    task_name = models.CharField(max_length=255)
    queue = models.CharField(max_length=255)
    error_type = models.CharField(max_length=255)
    message = models.CharField(max_length=500, blank=True, default="")
    frame = models.CharField(max_length=255, blank=True, default="")
    created_at = models.DateTimeField()
    state = models.CharField(max_length=9, choices=LetterState, default=LetterState.OPEN)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.CharField(max_length=200, blank=True, default="")
    note = models.TextField(blank=True, default="")

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(condition=Q(state__in=LetterState.values), name="letter_state_known"),
            models.CheckConstraint(
                condition=Q(state=LetterState.OPEN, resolved_at__isnull=True)
                | (~Q(state=LetterState.OPEN) & Q(resolved_at__isnull=False)),
                name="letter_resolved_has_time",
            ),
        )
        indexes = (
            # queries/dead_letters.py: one group, newest first.
            models.Index(fields=("fingerprint", "created_at"), name="letter_group"),
            # queries/dead_letters.py: what is open, newest first; dispatch/replay.py: oldest first.
            models.Index(fields=("id",), name="letter_open", condition=Q(state=LetterState.OPEN)),
            # queries/rule_measures.py: those of the last minutes.
            models.Index(fields=("created_at",), name="letter_created"),
            # queries/dead_letters.py: those of another application, newest first.
            models.Index(fields=("application", "id"), name="letter_attached", condition=~Q(application=NATIVE_ID)),
        )

    def __str__(self) -> str:
        return f"{self.task_name}: {self.error_type}"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A selection of dead letters: those that match every given value, or all of them if none is given.

    `task_ids` of None does not restrict the selection; an empty list selects no letter. `application` is a name. `visible`
    are the names of the applications that the caller may see.
    """

    task_ids: Sequence[UUID] | None = None
    fingerprint: str = ""
    task_name: str = ""
    error_type: str = ""
    application: str = ""
    visible: Visible = None

    def query(self) -> "models.QuerySet[DeadLetter]":
        """Return the selected letters, in any state."""
        query = DeadLetter.objects.filter(of_visible(self.visible))
        if self.task_ids is not None:
            query = query.filter(task_id__in=self.task_ids)
        for name in ("fingerprint", "task_name", "error_type"):
            if value := getattr(self, name):
                query = query.filter(**{name: value})
        return query.filter(of_application(self.application)) if self.application else query

    def exact(self) -> "Selection":
        """Return a selection of exactly the letters that this one selects now, in any state; one query if it is of applications.

        A replay run stores ids, and the other members, but no application.
        """
        if not self.application and self.visible is None:
            return self
        return Selection(task_ids=list(self.query().order_by("id").values_list("task_id", flat=True)))
