"""The index of a task's children; built beside running processes, which go on writing tasks meanwhile."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("tasks_app", "0012_parent")]

    operations = [
        AddIndexConcurrently(
            model_name="task",
            index=models.Index(condition=models.Q(("parent_id__isnull", False)), fields=["parent_id", "id"], name="task_parent"),
        ),
    ]
