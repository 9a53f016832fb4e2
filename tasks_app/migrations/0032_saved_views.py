import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tasks_app", "0031_workflows"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="SavedView",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=60)),
                (
                    "query",
                    models.CharField(help_text="The list's address after the question mark.", max_length=2000),
                ),
                (
                    "application",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="The application that it is limited to; empty: all of them.",
                        max_length=50,
                    ),
                ),
                ("saved_by", models.CharField(max_length=200)),
                ("saved_at", models.DateTimeField()),
                (
                    "owner",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ("name", "id"),
                "constraints": [
                    models.UniqueConstraint(fields=("owner", "name"), name="saved_view_own_name"),
                    models.UniqueConstraint(
                        condition=models.Q(("owner", None)), fields=("application", "name"), name="saved_view_shared_name"
                    ),
                ],
            },
        ),
    ]
