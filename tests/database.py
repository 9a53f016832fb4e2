"""What a test does to PostgreSQL itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import psycopg
from asgiref.sync import SyncToAsync
from django.db import OperationalError, connection, connections
from psycopg import sql
from psycopg.errors import DeadlockDetected, LockNotAvailable

from tests.servers import ADMIN_URL

#: What a transaction that empties tables says first. Below PostgreSQL's deadlock_timeout (1 s): of two who wait for each
#: other it is then never the other who fails.
GIVE_WAY = "SET LOCAL lock_timeout = '200ms'"
#: Seconds, for a transaction that an ended process left open.
EMPTIED_WITHIN = 30.0
#: The schema that keeps copies of the tables which are not empty after migrations.
KEPT = "kept"


def end_other_connections() -> None:
    """End every connection to the test's database but the test's own, as a restart of the server would."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database(), pg_backend_pid()")
        own = cursor.fetchone()
    with psycopg.connect(f"{os.environ[ADMIN_URL]}/postgres", autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = %s AND pid <> %s AND backend_type = 'client backend'",
            own,
        )
    # Among them is that of the thread in which async code reaches the database, whatever test used it last.
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()


def empty(transaction: Callable[[], object]) -> None:
    """Repeat a transaction that begins with GIVE_WAY and empties tables, until it gets all locks at once.

    Engines and web processes go on while tables are emptied between tests. They may take the same locks in another order: then
    both would wait for each other.
    """
    deadline = time.monotonic() + EMPTIED_WITHIN
    while True:
        try:
            transaction()
        except (LockNotAvailable, DeadlockDetected, OperationalError) as error:
            cause = error.__cause__ if isinstance(error, OperationalError) else error
            if not isinstance(cause, (LockNotAvailable, DeadlockDetected)) or time.monotonic() > deadline:
                raise
        else:
            return


class Emptying:
    """Brings the tests' database back to what migrations left in it: the content types, the permissions, the roles.

    Django's own flush truncates 36 tables with 123 indexes and has all of that made anew, which takes half a second. Here an
    administrator deletes what there is, with triggers set aside, and puts back what was kept: a few milliseconds.
    """

    def __init__(self) -> None:
        self._database = connection.settings_dict["NAME"]
        self._address = f"{os.environ[ADMIN_URL]}/{self._database}"
        with self._admin() as admin:
            self._statement = _keep(admin)
        self._connection = self._admin()

    def __call__(self, *_: object) -> None:
        """Empty all tables, giving way to whoever writes."""
        try:
            empty(self._transaction)
        except psycopg.OperationalError:
            # A test that ends all connections ends this one too.
            self._connection.close()
            self._connection = self._admin()
            empty(self._transaction)

    def applications(self) -> list[str]:
        """The names of the applications that there are, besides Zenith's own."""
        rows = self._connection.execute("SELECT name FROM tasks_app_application WHERE kind <> 'native' ORDER BY name")
        return [str(name) for (name,) in rows]

    def close(self) -> None:
        """Let everybody go of the database, so that it can be removed: a thread that a test left behind may be connected, too."""
        self._connection.close()
        with psycopg.connect(f"{os.environ[ADMIN_URL]}/postgres", autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [self._database])

    def _transaction(self) -> None:
        with self._connection.transaction():
            self._connection.execute(GIVE_WAY)
            self._connection.execute("SET LOCAL session_replication_role = replica")
            self._connection.execute(self._statement)

    def _admin(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self._address, autocommit=True)


def _keep(admin: psycopg.Connection[tuple[object, ...]]) -> sql.Composed:
    """Copy the tables that hold something aside; return the statement that empties all and puts the copies back."""
    found = admin.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'django_migrations'")
    tables = [sql.Identifier(str(name)) for (name,) in found]
    admin.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(KEPT)))
    parts = [sql.SQL("DELETE FROM {}").format(table) for table in tables]
    for table in tables:
        if admin.execute(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(table)).fetchone():
            names = {"copy": sql.Identifier(KEPT) + sql.SQL(".") + table, "table": table}
            admin.execute(sql.SQL("CREATE TABLE {copy} AS TABLE {table}").format(**names))
            parts.append(sql.SQL("INSERT INTO {table} SELECT * FROM {copy}").format(**names))
    return sql.SQL(";").join(parts)
