"""What a test does to PostgreSQL itself."""

from __future__ import annotations

from django.db import connection


def end_other_connections() -> None:
    """End every connection to the test's database but the test's own, as a restart of the server would."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
