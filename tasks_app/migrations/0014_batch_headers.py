"""What the messages of a batch say of where they come from."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_app", "0013_task_parent")]

    operations = [
        migrations.AddField(
            model_name="batch",
            name="headers",
            field=models.JSONField(db_default={}, default=dict, help_text="Headers that every message of it carries."),
        ),
    ]
