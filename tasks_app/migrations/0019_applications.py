"""Applications, with the row of Zenith's own; every task so far belongs to it. A constant default: no task's row is written."""

from typing import Any

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


def insert_native(apps: Any, schema_editor: Any) -> None:
    """Insert the row of Zenith's own application, and let the next one follow it."""
    apps.get_model("tasks_app", "Application").objects.create(name="zenith", kind="native", main="zenith_site")


class Migration(migrations.Migration):
    dependencies = [("tasks_app", "0018_queue_names")]

    operations = [
        migrations.CreateModel(
            name="Application",
            fields=[
                ("id", models.SmallAutoField(primary_key=True, serialize=False)),
                (
                    "name",
                    models.CharField(
                        help_text="Lower-case letters, digits, and hyphens between them.",
                        max_length=50,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(r"^[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?\Z"),
                        ],
                    ),
                ),
                ("kind", models.CharField(choices=[("native", "Native"), ("attached", "Attached")], max_length=8)),
                (
                    "main",
                    models.CharField(blank=True, default="", help_text="The main name of the Celery app.", max_length=255),
                ),
                (
                    "celery_version",
                    models.CharField(blank=True, default="", help_text="As its newest process announced it.", max_length=50),
                ),
                ("python_version", models.CharField(blank=True, default="", max_length=50)),
                (
                    "isolated",
                    models.BooleanField(
                        db_default=False, default=False, help_text="It has a Redis user of its own, which may write nothing else."
                    ),
                ),
                (
                    "first_heard_at",
                    models.DateTimeField(blank=True, help_text="When a process of it first announced itself.", null=True),
                ),
                ("last_heard_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ("id",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["native", "attached"])), name="application_kind_known"
                    )
                ],
            },
        ),
        migrations.RunPython(insert_native, migrations.RunPython.noop),
        migrations.AlterField(
            "task",
            "text_id",
            models.TextField(
                blank=True, db_default="", default="", editable=False, help_text="Celery's id, if the row's is derived from it."
            ),
        ),
        migrations.AddField(
            "task",
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
    ]
