"""What the suite itself relies on: tables are emptied although other processes read and write, and keep what migrations made."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection

from tasks_app.models import Application
from tests.database import Emptying
from tests.servers import ADMIN_URL
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)
WAITS = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def kept() -> list[list[int]]:
    return [sorted(model.objects.values_list("pk", flat=True)) for model in (ContentType, Permission, Group, Application)]


def test_what_a_test_wrote_is_gone_and_what_migrations_made_is_there(django_db_setup: Emptying) -> None:
    before = kept()
    assert all(before)
    user = User.objects.create(username="ada")
    group = Group.objects.create(name="guests")
    group.permissions.set(Permission.objects.all()[:2])
    user.groups.add(group)
    Permission.objects.first().delete()  # type: ignore[union-attr]
    django_db_setup()
    assert not User.objects.exists()
    assert kept() == before


def test_who_only_reads_is_not_waited_for(django_db_setup: Emptying) -> None:
    User.objects.create(username="ada")
    with psycopg.connect(**connection.get_connection_params()) as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        before = reader.execute("SELECT count(*) FROM auth_user").fetchone()
        django_db_setup()
        assert reader.execute("SELECT count(*) FROM auth_user").fetchone() == before == (1,)
    assert not User.objects.exists()


@pytest.mark.parametrize(("first", "then"), [("auth_user", "auth_group"), ("auth_group", "auth_user")])
def test_a_writer_and_the_emptying_that_wait_for_each_other_both_come_to_an_end(
    django_db_setup: Emptying, first: str, then: str
) -> None:
    """The writer holds a row and then wants another, while the emptying, whichever it meets first, holds one and wants both."""
    User.objects.create(username="ada")
    Group.objects.create(name="guests")
    parameters = connection.get_connection_params()
    with (
        psycopg.connect(**parameters) as writer,
        # What others' sessions wait for only an administrator sees.
        psycopg.connect(f"{os.environ[ADMIN_URL]}/{connection.settings_dict['NAME']}", autocommit=True) as watcher,
        ThreadPoolExecutor(1) as pool,
    ):
        writer.execute(f"SELECT FROM {first} FOR UPDATE")
        emptied = pool.submit(django_db_setup)
        eventually(lambda: watcher.execute(WAITS).fetchall())
        writer.execute(f"SELECT FROM {then} FOR UPDATE")
        writer.commit()
        emptied.result(30)
    assert not User.objects.exists()


def test_it_survives_that_all_connections_are_ended(django_db_setup: Emptying) -> None:
    from tests.database import end_other_connections

    end_other_connections()
    User.objects.create(username="ada")
    django_db_setup()
    assert not User.objects.exists()
