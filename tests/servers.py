"""A pytest plugin: a PostgreSQL and a Redis of their own for this test run, started before Django reads its settings.

`-p tests.servers` in pyproject.toml loads it. Each run has its own temporary directory and ports, so two runs at once do not
meet. Under pytest-xdist each worker is such a run: Redis' channels know no databases, and a test may fill it or count its
clients.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from zenith_site.embedded import EmbeddedServers

# Of whatever the shell has set, only this one reaches the tests.
KEPT = {"ZENITH_REQUIRE", "ZENITH_SCREENSHOTS", "ZENITH_FAULTS_SEED", "ZENITH_FAULTS_REPORT"}
OURS = ("ZENITH_", "DATABASE_URL", "REDIS_URL", "PORT", "OTEL_")


class TestServers:
    """The servers of one run, and the environment that leads to them."""

    __test__ = False

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="zenith-tests-"))
        # PostgreSQL runs as another user when the tests run as root.
        self.directory.chmod(0o711)
        # Where `collectstatic` would put them; whitenoise warns where there is no such directory.
        (self.directory / "data" / "static").mkdir(parents=True)
        self.servers = EmbeddedServers(self.directory / "data", fast=True)

    def start(self) -> None:
        """Start them and point the environment at them."""
        self.servers.start()
        for name in list(os.environ):
            if name.startswith(OURS) and name not in KEPT:
                del os.environ[name]
        os.environ.update(
            DATABASE_URL=self.servers.addresses.database_url,
            REDIS_URL=self.servers.addresses.redis_url,
            ZENITH_DATA_DIR=str(self.directory / "data"),
            ZENITH_ENV_FILE=os.devnull,
        )

    def stop(self) -> None:
        """Stop them and remove their data."""
        self.servers.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    """Start before pytest-django imports the settings, which it does in this same hook; a wrapper runs before it."""
    options = early_config.known_args_namespace
    # With -n, the first process only hands out what its workers run.
    hands_out = getattr(options, "numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ
    if not options.help and not hands_out:
        run = TestServers()
        # Even when starting fails half way.
        early_config.add_cleanup(run.stop)
        run.start()
    return (yield)
