"""A pytest plugin: a PostgreSQL and a Redis of their own for this test run, started before Django reads its settings.

`-p tests.servers` in pyproject.toml loads it. Each run has its own temporary directory and ports, so two runs at once do not
meet. Under pytest-xdist each worker is such a run: Redis' channels know no databases, and a test may fill it or count its
clients. Their PostgreSQLs are copies of one cluster, in which the first process has migrated the database that Django then
takes as the template of the tests' own.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.processes import REPOSITORY
from zenith_site.embedded import EmbeddedServers
from zenith_site.embedded.state import DATABASE, DATABASE_USER, PORTS_FILE, ensure_secret

# Of whatever the shell has set, only these reach the tests.
KEPT = {
    "ZENITH_REQUIRE", "ZENITH_SCREENSHOTS", "ZENITH_FAULTS_SEED", "ZENITH_FAULTS_REPORT", "ZENITH_SCHEMA_EXAMPLES",
    "ZENITH_TESTS",
}  # fmt: skip
#: Whether everything runs, also what takes minutes: `make test-long`.
IS_LONG = os.environ.get("ZENITH_TESTS") == "long"
OURS = ("ZENITH_", "DATABASE_URL", "REDIS_URL", "PORT", "OTEL_")
#: Where the first process under pytest-xdist left the cluster that the workers copy.
SEED = "TESTS_SEED"
#: The directory of the whole run, which all of its processes share.
RUN = "TESTS_RUN"
#: A database that is migrated, for tests.settings.
TEMPLATE = "TESTS_TEMPLATE"
#: An administrator of PostgreSQL, for the harness alone: what is tested never connects as this one.
ADMIN_URL = "TESTS_ADMIN_URL"
ADMIN = "harness"
AT_THE_END = "at_the_end"


def make_directory() -> Path:
    """Make a directory in which all that a run leaves behind ends: a process that was killed cannot clean up after itself.

    PostgreSQL, which runs as another user when the tests run as root, may pass through it.
    """
    directory = Path(tempfile.mkdtemp(prefix="zenith-tests-"))
    directory.chmod(0o711)
    temporary = directory / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
    return directory


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Have pytest's own directories there too, with paths that are short enough for a socket."""
    # Thousands of tests are collected to stay: to look at them again for garbage is a tenth of what collecting them takes.
    gc.set_threshold(100_000, 20, 100)
    if RUN in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
        config.option.basetemp = config.option.basetemp or Path(os.environ[RUN]) / "t"


def make_admin(servers: EmbeddedServers) -> None:
    """Give the harness a superuser of its own, which may set triggers aside; its password lies among the servers'."""
    password = ensure_secret(servers.data_dir, "harness_password")
    with psycopg.connect(servers.admin_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {ADMIN} SUPERUSER LOGIN PASSWORD '{password}'")
        # Django makes the tests' database with the application's role.
        connection.execute(f"ALTER ROLE {DATABASE_USER} CREATEDB")


class Seed:
    """A cluster with a migrated database, which is stopped: workers copy its files."""

    def __init__(self) -> None:
        self.directory = make_directory()
        self.data = self.directory / "data"

    def make(self) -> None:
        """Make it and leave its place in the environment, which the workers inherit."""
        with EmbeddedServers(self.data, redis=False, fast=True) as servers:
            make_admin(servers)
            environment = {
                **os.environ, "DATABASE_URL": servers.addresses.database_url, "REDIS_URL": "redis://127.0.0.1:1/0",
                "ZENITH_DATA_DIR": str(self.data), "ZENITH_ENV_FILE": os.devnull, "DJANGO_SETTINGS_MODULE": "tests.settings",
            }  # fmt: skip
            command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
            subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, timeout=120)
        # Each copy chooses a port of its own.
        (self.data / PORTS_FILE).unlink()
        os.environ[SEED] = str(self.data)
        os.environ[RUN] = str(self.directory)

    def remove(self) -> None:
        """Remove it."""
        os.environ.pop(SEED, None)
        end(self.directory)


def copy_seed(data: Path) -> bool:
    """Copy the migrated cluster to a data directory that does not exist yet; returns False where a run has none."""
    seed = os.environ.get(SEED)
    if seed:
        # With its owners, which are others for root.
        subprocess.run(["cp", "-a", seed, data], check=True)
    return bool(seed)


class TestServers:
    """The servers of one run, and the environment that leads to them."""

    __test__ = False

    def __init__(self) -> None:
        self.directory = make_directory()
        self.data = self.directory / "data"
        self.servers = EmbeddedServers(self.data, fast=True)

    def start(self) -> None:
        """Start them and point the environment at them."""
        seeded = copy_seed(self.data)
        # Where `collectstatic` would put them; whitenoise warns where there is no such directory.
        (self.data / "static").mkdir(parents=True, exist_ok=True)
        self.servers.start()
        if not seeded:
            make_admin(self.servers)
        found = self.servers.addresses
        point_at(found.database_url, found.redis_url, self.data)
        password = ensure_secret(self.data, "harness_password")
        os.environ[ADMIN_URL] = f"postgres://{ADMIN}:{password}@127.0.0.1:{urlsplit(found.database_url).port}"
        if seeded:
            os.environ[TEMPLATE] = DATABASE
        else:
            os.environ[RUN] = str(self.directory)

    def stop(self) -> None:
        """Stop them and remove their data."""
        self.servers.stop()
        end(self.directory)


@contextmanager
def once_a_run(name: str) -> Iterator[bool]:
    """Hold a lock that all processes of a run share; yields whether this one is the first to do what `name` stands for."""
    marker = Path(os.environ[RUN]) / name
    with marker.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not marker.exists()
        marker.touch()


def at_the_end(*command: str) -> None:
    """Have a command run when the whole run has ended."""
    with (Path(os.environ[RUN]) / AT_THE_END).open("a") as file:
        file.write(json.dumps(command) + "\n")


def end(directory: Path) -> None:
    """Do what was left for the end of a run, and remove its directory."""
    left = directory / AT_THE_END
    for line in left.read_text().splitlines() if left.exists() else ():
        subprocess.run(json.loads(line), check=False, capture_output=True, timeout=120)
    shutil.rmtree(directory, ignore_errors=True)


def point_at(database_url: str, redis_url: str, data: Path) -> None:
    """Let the environment say nothing about Zenith but this."""
    for name in list(os.environ):
        if name.startswith(OURS) and name not in KEPT:
            del os.environ[name]
    os.environ.update(
        DATABASE_URL=database_url, REDIS_URL=redis_url, ZENITH_DATA_DIR=str(data), ZENITH_ENV_FILE=os.devnull
    )  # fmt: skip


def needs_no_server(arguments: Iterable[str]) -> bool:
    """Whether only unit tests are asked for."""
    unit = REPOSITORY / "tests" / "unit"
    paths = [Path(argument.partition("::")[0]).resolve() for argument in arguments]
    return bool(paths) and all(path == unit or unit in path.parents for path in paths)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    """Start before pytest-django imports the settings, which it does in this same hook; a wrapper runs before it."""
    options = early_config.known_args_namespace
    worker = "PYTEST_XDIST_WORKER" in os.environ
    if options.help or options.collectonly or (needs_no_server(options.file_or_dir) and not os.environ.get(SEED)):
        # Nothing listens there, and nobody is to ask.
        point_at("postgres://nobody:nobody@127.0.0.1:1/none", "redis://127.0.0.1:1/0", Path(tempfile.gettempdir()) / "none")
    elif getattr(options, "numprocesses", None) and not worker:
        # With -n, the first process only hands out what its workers run.
        seed = Seed()
        early_config.add_cleanup(seed.remove)
        seed.make()
    else:
        run = TestServers()
        # Even when starting fails half way.
        early_config.add_cleanup(run.stop)
        run.start()
    return (yield)
