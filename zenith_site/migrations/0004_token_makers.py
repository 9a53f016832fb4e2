"""By which tokens a token was made. The column has a constant default, so no row is rewritten."""

from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("zenith_site", "0003_refusals")]

    operations = [
        migrations.AddField(
            model_name="apitoken",
            name="maker_ids",
            field=ArrayField(
                base_field=models.BigIntegerField(),
                blank=True,
                db_default=models.Value([], output_field=ArrayField(base_field=models.BigIntegerField(), size=None)),
                default=list,
                editable=False,
                help_text="The token that it was made with comes last, and before each the one that made that.",
                size=None,
            ),
        ),
    ]
