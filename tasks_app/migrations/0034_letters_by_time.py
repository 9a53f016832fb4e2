"""The dead letters of the last minutes, which notification rules count every few seconds. The index is built beside running processes."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("tasks_app", "0033_worker_minutes")]

    operations = [AddIndexConcurrently("deadletter", models.Index(fields=["created_at"], name="letter_created"))]
