"""Lists are by the time of creation: ids of other programs' tasks, and of what a canvas sends, do not follow the time.

No lock is held for long: each index is built beside running processes, and the one it follows goes only afterwards.
"""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models

NEW = (
    models.Index(fields=["created_at", "id"], name="task_newest"),
    models.Index(fields=["status", "created_at", "id"], name="task_status_newest"),
    models.Index(fields=["name", "queue", "status", "created_at", "id"], name="task_name_newest"),
    models.Index(
        condition=models.Q(("worker", ""), _negated=True), fields=["worker", "created_at", "id"], name="task_worker_newest"
    ),
    models.Index(
        condition=models.Q(("parent_id__isnull", False)), fields=["parent_id", "created_at", "id"], name="task_child_newest"
    ),
)
OLD = ("task_by_status", "task_by_name", "task_by_worker", "task_external", "task_parent")


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("tasks_app", "0015_ends")]

    operations = [
        migrations.AlterModelOptions(
            "task",
            {
                "ordering": ("-created_at", "-id"),
                "permissions": (
                    ("dispatch_task", "Can dispatch tasks"),
                    ("operate_task", "Can operate tasks, queues and workers"),
                ),
            },
        ),
        *[AddIndexConcurrently("task", index) for index in NEW],
        *[RemoveIndexConcurrently("task", name) for name in OLD],
    ]
