"""Tasks whose ids are no UUIDs: the text beside the key that is made from it. A constant default: no row is written."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_app", "0016_newest_first")]

    operations = [
        migrations.AddField(
            "task",
            "text_id",
            models.TextField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                help_text="Celery's id, where it is no UUID as Celery writes one.",
            ),
        ),
    ]
