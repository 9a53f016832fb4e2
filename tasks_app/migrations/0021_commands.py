"""What other applications can run, and what their workers were asked to send. The relay's own indexes leave their tasks out.

Indexes are built beside running processes; the new ones stand before the old ones go.
"""

import django.db.models.deletion
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("tasks_app", "0020_application_index")]

    operations = [
        migrations.CreateModel(
            name="Catalogue",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("application", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="tasks_app.application")),
                ("digest", models.CharField(max_length=64)),
                ("tasks", models.JSONField(help_text="By name: description, queue, retries and parameters.")),
                ("left_out", models.PositiveIntegerField(default=0, help_text="Tasks whose description was invalid.")),
                ("first_seen_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField(help_text="When a worker with it was last online.")),
            ],
            options={"ordering": ("-last_seen_at",)},
        ),
        migrations.AddConstraint(
            model_name="catalogue", constraint=models.UniqueConstraint(fields=("application", "digest"), name="catalogue_key")
        ),
        migrations.AddField(
            "task",
            "handed_at",
            models.DateTimeField(blank=True, help_text="When another application's workers were asked to send it.", null=True),
        ),
        AddIndexConcurrently(
            "task",
            models.Index(
                fields=["status", "not_before", "id"],
                name="task_due_own",
                condition=(Q(status="SCHEDULED") | Q(held=True)) & Q(application=1),
            ),
        ),
        AddIndexConcurrently(
            "task",
            models.Index(fields=["queue", "id"], name="task_pending_own", condition=Q(status="PENDING", application=1)),
        ),
        AddIndexConcurrently(
            "task",
            models.Index(
                fields=["application", "status", "not_before", "id"],
                name="task_to_hand_over",
                condition=Q(status__in=("SCHEDULED", "PENDING")) & ~Q(application=1),
            ),
        ),
        RemoveIndexConcurrently("task", "task_due"),
        RemoveIndexConcurrently("task", "task_pending"),
    ]
