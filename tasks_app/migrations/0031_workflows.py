"""Workflows. Tasks that were recorded before keep no root: their workflows are not listed."""

import django.db.models.deletion
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("tasks_app", "0030_progress")]

    operations = [
        migrations.CreateModel(
            name="Workflow",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(help_text="When its first task that is known was sent.")),
                (
                    "application",
                    models.ForeignKey(
                        db_constraint=False,
                        db_default=1,
                        db_index=False,
                        default=1,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="tasks_app.application",
                    ),
                ),
            ],
            options={
                "ordering": ("-created_at", "-id"),
                "indexes": [
                    models.Index(fields=["created_at", "id"], name="workflow_newest"),
                    models.Index(fields=["application", "created_at", "id"], name="workflow_application_newest"),
                ],
            },
        ),
        migrations.AddField(
            model_name="task",
            name="root_id",
            field=models.UUIDField(
                blank=True,
                help_text="The first task of its workflow, or the group; NULL for the first and for single tasks.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="group_id",
            field=models.UUIDField(blank=True, help_text="The group of which it is a part.", null=True),
        ),
        AddIndexConcurrently(
            "task",
            models.Index(
                condition=models.Q(("root_id__isnull", False)), fields=["root_id", "created_at", "id"], name="task_workflow"
            ),
        ),
    ]
