"""The application of figures and dead letters; those so far are of Zenith's own. A constant default writes no row."""

import django.db.models.deletion
from django.db import migrations, models


def application():
    return models.ForeignKey(
        db_constraint=False,
        db_default=1,
        db_index=False,
        default=1,
        on_delete=django.db.models.deletion.PROTECT,
        to="tasks_app.application",
    )


class Migration(migrations.Migration):
    dependencies = [("tasks_app", "0022_command_indexes")]

    operations = [
        migrations.AddField(model, "application", application()) for model in ("minuterollup", "periodrollup", "deadletter")
    ]
