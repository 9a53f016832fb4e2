"""Links to pages of long names, which percent-encoding makes twelve times as long. PostgreSQL only notes it: no row is written."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("notify", "0001_initial")]

    operations = [
        migrations.AlterField(
            "notification", "link", models.TextField(help_text="The page of its cause, as a path of this site.")
        )
    ]
