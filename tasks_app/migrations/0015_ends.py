"""Two statuses more (IGNORED, REPLACED), and runs of tasks that replaced themselves.

Nothing is locked for long: constraints are added without a look at the rows and looked over afterwards, beside running processes,
and the unique index is built before it takes the place of the old one.
"""

import django.db.models.deletion
from django.contrib.postgres.operations import (
    AddConstraintNotValid,
    AddIndexConcurrently,
    RemoveIndexConcurrently,
    ValidateConstraint,
)  # fmt: skip
from django.db import migrations, models

STATUSES = [
    "SCHEDULED", "PENDING", "QUEUED", "RECEIVED", "STARTED", "RETRY", "SUCCESS", "FAILURE", "REVOKED", "IGNORED", "REPLACED",
]  # fmt: skip
CHOICES = [(status, status.capitalize()) for status in STATUSES]
OPEN = ["PENDING", "QUEUED", "RECEIVED", "REPLACED", "RETRY", "SCHEDULED", "STARTED"]


def checked(model, name, condition):
    """Return the operations that put a check constraint in the place of the one with its name."""
    return [
        migrations.RemoveConstraint(model_name=model, name=name),
        AddConstraintNotValid(model_name=model, constraint=models.CheckConstraint(condition=condition, name=name)),
        ValidateConstraint(model_name=model, name=name),
    ]


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("tasks_app", "0014_batch_headers")]

    operations = [
        migrations.AlterField("task", "status", models.CharField(choices=CHOICES, max_length=9)),
        migrations.AlterField("taskevent", "status", models.CharField(choices=CHOICES, max_length=9)),
        migrations.AlterField(
            "attempt",
            "outcome",
            models.CharField(choices=CHOICES, help_text="RETRY, FAILURE or REVOKED; QUEUED when it was recovered.", max_length=9),
        ),
        *checked("task", "task_status_known", models.Q(status__in=STATUSES)),
        *checked("task", "task_finished_has_time", models.Q(status__in=OPEN) | models.Q(finished_at__isnull=False)),
        RemoveIndexConcurrently("task", "task_cancel_wished"),
        AddIndexConcurrently(
            "task",
            models.Index(
                condition=models.Q(cancel_requested_at__isnull=False, status__in=OPEN), fields=["id"], name="task_cancel_wished"
            ),
        ),
        *checked("attempt", "attempt_outcome_known", models.Q(outcome__in=STATUSES)),
        migrations.AddField(
            "task",
            "acks_early",
            models.BooleanField(
                db_default=False,
                default=False,
                help_text="Its message was acknowledged before its body began: it is never sent again.",
            ),
        ),
        migrations.AddField(
            "attempt",
            "nesting",
            models.PositiveIntegerField(default=0, db_default=0, help_text="How often the task had replaced itself before."),
        ),
        migrations.AddField(
            "attempt",
            "due_at",
            models.DateTimeField(blank=True, help_text="When the next run was to begin, where another was to follow.", null=True),
        ),
        migrations.AlterField(
            "attempt",
            "attempt",
            models.PositiveIntegerField(help_text="Which run of the task, from 1; counted anew after it replaced itself."),
        ),
        migrations.CreateModel(
            "TaskMessage",
            [
                (
                    "task",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="message",
                        serialize=False,
                        to="tasks_app.task",
                    ),
                ),
                (
                    "nesting",
                    models.PositiveIntegerField(
                        default=0, help_text="How often the task had replaced itself: the newest message is kept."
                    ),
                ),
                (
                    "extras",
                    models.JSONField(help_text="Headers, what follows the task, and of a replacement its name and arguments."),
                ),
            ],
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveConstraint("attempt", "attempt_once"),
                migrations.AddConstraint(
                    "attempt",
                    models.UniqueConstraint(fields=("task", "nesting", "attempt", "delivery"), name="attempt_once"),
                ),
            ],
            database_operations=[
                migrations.RunSQL(
                    [
                        "CREATE UNIQUE INDEX CONCURRENTLY attempt_once_nested"
                        " ON tasks_app_attempt (task_id, nesting, attempt, delivery)",
                        "ALTER TABLE tasks_app_attempt DROP CONSTRAINT attempt_once,"
                        " ADD CONSTRAINT attempt_once UNIQUE USING INDEX attempt_once_nested",
                    ],
                    [
                        "CREATE UNIQUE INDEX CONCURRENTLY attempt_once_plain ON tasks_app_attempt (task_id, attempt, delivery)",
                        "ALTER TABLE tasks_app_attempt DROP CONSTRAINT attempt_once,"
                        " ADD CONSTRAINT attempt_once UNIQUE USING INDEX attempt_once_plain",
                    ],
                ),
            ],
        ),
    ]
