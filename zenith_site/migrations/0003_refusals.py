"""Refusals in the audit log. Nothing is rewritten, and the index is built beside running processes: the log may be long."""

from django.db import migrations, models

INDEX = """
    CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS audit_entry_refusal ON zenith_site_auditentry (refusal)
    WHERE refusal IS NOT NULL
"""


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("zenith_site", "0002_scopes_and_audit")]

    operations = [
        migrations.AddField(
            model_name="auditentry",
            name="count",
            field=models.PositiveIntegerField(db_default=1, default=1, help_text="How many refusals the entry tells of."),
        ),
        migrations.AddField(
            model_name="auditentry",
            name="refusal",
            field=models.UUIDField(blank=True, editable=False, null=True),
        ),
        migrations.AlterField(
            model_name="auditentry",
            name="status",
            field=models.PositiveSmallIntegerField(
                blank=True, help_text="Of the HTTP answer, or the close code of a WebSocket.", null=True
            ),
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                # One that was broken off is left invalid, and would be taken for the right one.
                migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS audit_entry_refusal", migrations.RunSQL.noop),
                migrations.RunSQL(INDEX, "DROP INDEX CONCURRENTLY IF EXISTS audit_entry_refusal"),
            ],
            state_operations=[
                migrations.AddConstraint(
                    model_name="auditentry",
                    constraint=models.UniqueConstraint(
                        condition=models.Q(("refusal__isnull", False)), fields=("refusal",), name="audit_entry_refusal"
                    ),
                )
            ],
        ),
    ]
