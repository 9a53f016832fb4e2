"""Names of queues as long as AMQP and Celery allow. PostgreSQL only notes it: a wider varchar rewrites neither rows nor indexes."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_app", "0017_text_ids")]

    operations = [
        *(
            migrations.AlterField(model, "queue", models.CharField(max_length=255))
            for model in ("deadletter", "minuterollup", "periodrollup", "queuesample", "task")
        ),
        migrations.AlterField("queuepause", "queue", models.CharField(max_length=255, primary_key=True, serialize=False)),
    ]
