"""The tasks of other people's applications, newest first. The index is built beside running processes and is empty at first."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("tasks_app", "0019_applications")]

    operations = [
        AddIndexConcurrently(
            "task",
            models.Index(
                condition=models.Q(("application", 1), _negated=True),
                fields=["application", "status", "created_at", "id"],
                name="task_application_newest",
            ),
        )
    ]
