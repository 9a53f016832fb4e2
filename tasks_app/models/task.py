"""Tasks: one row for each, from dispatch to outcome."""

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q

from tasks_app.models.application import NATIVE_ID, Application
from tasks_app.models.batch import Batch
from zenith_worker.wire.ids import key_of, new_id
from zenith_worker.wire.states import CHOICES, OPEN, STATUSES, TERMINAL, Status, attempt_of

#: The sources of tasks that Zenith dispatched; see Origin in dispatch/create.py.
DISPATCHED = ("page", "api", "command", "engine")
#: Characters of an id that django-celery-results' `TaskResult` holds.
_LONGEST_RESULT_ID = 255


def result_id(key: object, text_id: str) -> str:
    """Return the id of a task's `TaskResult`: Celery's id, so that AsyncResult finds it.

    It is the row's key if Celery's id is too long, or another application's: two of them may have tasks of the same id.
    """
    is_own = 0 < len(text_id) <= _LONGEST_RESULT_ID and str(key_of(text_id)) == str(key)
    return text_id if is_own else str(key)


class Task(models.Model):
    """One task. Its id is Celery's task id if that is a UUID of Zenith's own application, else derived (wire/ids.py).

    Written only by dispatch/ (until it is sent) and recording/ (everything after). Its result and traceback are stored once, in
    django-celery-results' `TaskResult`.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    text_id = models.TextField(
        blank=True, default="", db_default="", editable=False, help_text="Celery's id, if the row's is derived from it."
    )
    # No constraint, which would be checked for every task that is inserted: an application with tasks is never removed.
    application = models.ForeignKey(
        Application, on_delete=models.PROTECT, default=NATIVE_ID, db_default=NATIVE_ID, db_constraint=False, db_index=False
    )
    name = models.CharField(max_length=255)
    queue = models.CharField(max_length=255)
    status = models.CharField(max_length=9, choices=CHOICES)
    # states.position() of the event that the row shows; an older event never moves it back.
    position = models.BigIntegerField(default=0)
    args = models.JSONField(default=list)
    kwargs = models.JSONField(default=dict)
    priority = models.SmallIntegerField(null=True, blank=True)
    max_retries = models.PositiveSmallIntegerField(null=True, blank=True, help_text="NULL for tasks that other code sent.")
    time_limit = models.PositiveIntegerField(
        null=True, blank=True, help_text="Seconds after which its process is killed; NULL: the task's own."
    )
    soft_time_limit = models.PositiveIntegerField(
        null=True, blank=True, help_text="Seconds after which SoftTimeLimitExceeded is raised in it."
    )
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Not started after this.")
    batch = models.ForeignKey(Batch, null=True, blank=True, on_delete=models.PROTECT, db_index=False)
    source = models.CharField(max_length=16, help_text="page, api, command, engine or external")
    worker = models.CharField(max_length=255, blank=True, default="")
    error_type = models.CharField(max_length=255, blank=True, default="")
    error_message = models.TextField(blank=True, default="")
    created_at = models.DateTimeField()
    not_before = models.DateTimeField(
        null=True, blank=True, help_text="When a scheduled task is due, or a failed one runs again."
    )
    handed_at = models.DateTimeField(null=True, blank=True, help_text="When another application's workers were asked to send it.")
    queued_at = models.DateTimeField(null=True, blank=True)
    received_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    runtime = models.FloatField(null=True, blank=True, help_text="Seconds in the task's body.")
    cpu = models.FloatField(null=True, blank=True, help_text="CPU seconds of the run that ended it; NULL: unknown.")
    memory = models.BigIntegerField(null=True, blank=True, help_text="The largest memory of its process meanwhile, in bytes.")
    # In RETRY: the task has no message; dispatch/publish.py sends the next attempt's when it is due.
    held = models.BooleanField(default=False, db_default=False, help_text="Waits for its retry in PostgreSQL.")
    acks_early = models.BooleanField(
        default=False, db_default=False, help_text="Its message was acknowledged before its body began: it is never sent again."
    )
    replay_of = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="replays", db_index=False,
        help_text="The dead task that this one was sent in place of.",
    )  # fmt: skip
    # No foreign key: the parent may be unknown, become known later, or be pruned before its children.
    parent_id = models.UUIDField(null=True, blank=True, help_text="The task that sent this one while it ran.")
    # No foreign keys either: a group has no row, and the first task may become known later.
    root_id = models.UUIDField(
        null=True, blank=True, help_text="The first task of its workflow, or the group; NULL for the first and for single tasks."
    )
    group_id = models.UUIDField(null=True, blank=True, help_text="The group of which it is a part.")

    class Meta:
        ordering = ("-created_at", "-id")
        permissions = (("dispatch_task", "Can dispatch tasks"), ("operate_task", "Can operate tasks, queues and workers"))
        constraints = (
            models.CheckConstraint(condition=Q(status__in=STATUSES), name="task_status_known"),
            models.CheckConstraint(
                condition=Q(status__in=sorted(OPEN)) | Q(finished_at__isnull=False),
                name="task_finished_has_time",
            ),
        )
        indexes = (
            # search/index_scan.py: all, newest first; maintenance/expired.py: oldest first. By creation and not by id: those of
            # other programs' tasks, and of what a canvas sends, do not follow the time. The same in the next ones.
            models.Index(fields=("created_at", "id"), name="task_newest"),
            # search/index_scan.py: some statuses, newest first; queries/counters.py: how many.
            models.Index(fields=("status", "created_at", "id"), name="task_status_newest"),
            # search/index_scan.py: names, queues, or both, in some statuses, newest first; and which there are.
            models.Index(fields=("name", "queue", "status", "created_at", "id"), name="task_name_newest"),
            # search/index_scan.py: what some workers ran, newest first; and which there are. Written once a worker has the task.
            models.Index(fields=("worker", "created_at", "id"), name="task_worker_newest", condition=~Q(worker="")),
            # search/planner.py: other people's applications, in some statuses, newest first; queries/applications.py: how many.
            models.Index(
                fields=("application", "status", "created_at", "id"),
                name="task_application_newest",
                condition=~Q(application=NATIVE_ID),
            ),
            # search/planner.py: argument values. Written once for each task, when it ends.
            GinIndex(
                fields=("args", "kwargs"),
                opclasses=("jsonb_path_ops", "jsonb_path_ops"),
                name="task_arguments",
                condition=Q(finished_at__isnull=False),
            ),
            # dispatch/publish.py: what is due, oldest first. Small: few are held.
            models.Index(
                fields=("status", "not_before", "id"),
                name="task_due_own",
                condition=(Q(status=Status.SCHEDULED) | Q(held=True)) & Q(application=NATIVE_ID),
            ),
            # dispatch/publish.py: what was left behind, by queue: a paused one may hold very many, and is passed over.
            models.Index(
                fields=("queue", "id"), name="task_pending_own", condition=Q(status=Status.PENDING, application=NATIVE_ID)
            ),
            # dispatch/hand_over.py: what other applications' workers are to be asked to send, and what of it is not confirmed.
            models.Index(
                fields=("application", "status", "not_before", "id"),
                name="task_to_hand_over",
                condition=Q(status__in=(Status.SCHEDULED, Status.PENDING)) & ~Q(application=NATIVE_ID),
            ),
            # queries/lineage.py: what was sent in place of a dead task; also the foreign key's own checks.
            models.Index(fields=("replay_of",), name="task_replay_of", condition=Q(replay_of__isnull=False)),
            # queries/lineage.py, search/conditions.py: what a task sent, newest first. Small: few tasks send others.
            models.Index(
                fields=("parent_id", "created_at", "id"), name="task_child_newest", condition=Q(parent_id__isnull=False)
            ),
            # workflows/queries.sql: the tasks of a workflow, oldest first. Small: few tasks have a root.
            models.Index(fields=("root_id", "created_at", "id"), name="task_workflow", condition=Q(root_id__isnull=False)),
            # dispatch/cancel.py revoke_requested: cancellations that a crash interrupted. Almost always empty.
            models.Index(
                fields=("id",),
                name="task_cancel_wished",
                condition=Q(cancel_requested_at__isnull=False, status__in=sorted(OPEN)),
            ),
            # queries/batches.py: progress of some batches, by status.
            models.Index(fields=("batch", "status"), name="task_batch", condition=Q(batch__isnull=False)),
            # queries/batches.py: batches of another application, newest first. Small: most of its tasks are sent by itself.
            models.Index(
                fields=("application", "batch"),
                name="task_batch_attached",
                condition=Q(batch__isnull=False) & ~Q(application=NATIVE_ID),
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} {self.id}"

    @property
    def celery_id(self) -> str:
        """The task's id in Celery; for other programs' tasks, any text."""
        return self.text_id or str(self.id)

    @property
    def attempt(self) -> int:
        """The number of the current or last run, from 1."""
        return attempt_of(self.position) + 1

    @property
    def attempts_allowed(self) -> int | None:
        """The most runs allowed; None if only the task's own code knows."""
        return None if self.max_retries is None else self.max_retries + 1

    @property
    def is_finished(self) -> bool:
        """Whether the status is final."""
        return self.status in TERMINAL
