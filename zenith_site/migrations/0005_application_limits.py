"""The applications that users and tokens are limited to. The column has a constant default, so no row is rewritten."""

import django.db.models.deletion
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("zenith_site", "0004_token_makers"), migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.CreateModel(
            name="ApplicationLimit",
            fields=[
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="application_limit",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "applications",
                    ArrayField(base_field=models.CharField(max_length=50), blank=True, default=list, size=None),
                ),
            ],
            options={"default_permissions": ()},
        ),
        migrations.AddField(
            model_name="apitoken",
            name="applications",
            field=ArrayField(
                base_field=models.CharField(max_length=50),
                blank=True,
                db_default=models.Value([], output_field=ArrayField(base_field=models.CharField(max_length=50), size=None)),
                default=list,
                help_text="The names of the applications that it sees, as far as its user does. Empty: those of its user.",
                size=None,
            ),
        ),
    ]
