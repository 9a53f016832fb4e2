"""What the suite itself relies on: tables are emptied although processes read on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection

from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)
HELD = "auth_user"
FLUSH_WAITS = f"SELECT 1 FROM pg_locks WHERE NOT granted AND relation = '{HELD}'::regclass"  # noqa: S608 (a constant)


def read_one_table_after_the_other(parameters: dict[str, object], tables: list[str], reads: Event) -> int:
    """Hold one table, wait until the flush waits for it, then ask for those that the flush holds."""
    with psycopg.connect(**parameters) as reader, psycopg.connect(**parameters, autocommit=True) as watcher:  # type: ignore[arg-type]
        reader.execute(f"SELECT FROM {HELD}")
        reads.set()
        eventually(lambda: watcher.execute(FLUSH_WAITS).fetchall())
        for table in tables:
            reader.execute(f"SELECT FROM {table} LIMIT 1")
        (found,) = reader.execute(f"SELECT count(*) FROM {HELD}").fetchone() or (0,)  # noqa: S608 (a constant)
        return int(found)


def test_a_reader_and_the_flush_that_wait_for_each_other_both_come_to_an_end() -> None:
    User.objects.create(username="reader")
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    reads = Event()
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(read_one_table_after_the_other, connection.get_connection_params(), tables, reads)
        assert reads.wait(20)
        call_command("flush", interactive=False, verbosity=0)
        assert found.result() == 1
    assert not User.objects.exists()
