"""A real PgBouncer: where sessions are shared, nothing is done under locks that would not hold, and people are told why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from infra_app.agent.lease import Lease
from tests.pooler import pooled
from zenith_site.common.advisory_locks import try_advisory_lock
from zenith_site.common.sessions import SharedSessionError, has_own_session
from zenith_site.doctor import servers

pytestmark = pytest.mark.django_db(transaction=True)

LOCK = 77


@pytest.fixture
def transaction_mode(tmp_path: Path) -> Iterator[None]:
    with pooled(tmp_path, "transaction"):
        yield


@pytest.fixture
def session_mode(tmp_path: Path) -> Iterator[None]:
    with pooled(tmp_path, "session"):
        yield


def test_a_lock_would_not_hold_where_sessions_are_shared(transaction_mode: None) -> None:
    """What this is about: PostgreSQL's own lock, taken twice at once."""
    other = connection.copy()
    try:
        for wrapper in (connection, other):
            with wrapper.cursor() as cursor:
                cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
                assert cursor.fetchone()[0]
    finally:
        other.close()


def test_where_sessions_are_shared_nobody_is_let_in_alone(transaction_mode: None) -> None:
    with pytest.raises(SharedSessionError, match="pool_mode = session"), try_advisory_lock(LOCK):
        pass


def test_where_sessions_are_shared_no_agent_takes_a_host(transaction_mode: None) -> None:
    with pytest.raises(SharedSessionError):
        Lease("alpha", {"address": ""}).take()


def test_where_sessions_are_shared_the_doctor_says_so(transaction_mode: None) -> None:
    (finding,) = servers.sessions()
    assert "engines and agents do not start work" in finding.what


def test_a_pooler_that_keeps_sessions_is_as_good_as_none(session_mode: None) -> None:
    assert has_own_session()
    with try_advisory_lock(LOCK) as is_alone:
        assert is_alone
    assert not list(servers.sessions())


def test_without_a_pooler_every_connection_is_a_session() -> None:
    assert has_own_session()
    assert not list(servers.sessions())
