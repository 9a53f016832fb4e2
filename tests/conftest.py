"""What all tests share: what may be skipped, and the environment for processes that a test starts."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests import programs

if TYPE_CHECKING:
    from pytest_django import DjangoDbBlocker

    from tests.database import Emptying

# How long an example takes says nothing on a busy machine.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

REPOSITORY = Path(__file__).resolve().parent.parent
REQUIRABLE = {"browser", "docker", "js"} | programs.NAMES
#: The headless shell comes first: it draws the same pages with a fifth of the processor time, because it has no window to draw.
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


def find_browser() -> str | None:
    """The path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def docker_answers() -> bool:
    """Whether something listens on the Docker engine's socket."""
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not address.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(address.removeprefix("unix://"))
        except OSError:
            return False
    return True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, unless ZENITH_REQUIRE says that it must: then it runs, and fails."""
    required = {name.strip() for name in os.environ.get("ZENITH_REQUIRE", "").split(",") if name.strip()}
    if unknown := required - REQUIRABLE:
        raise pytest.UsageError(f"ZENITH_REQUIRE={','.join(sorted(unknown))!r} is not accepted: it takes {sorted(REQUIRABLE)}")
    missing = {}
    if not find_browser():
        missing["browser"] = "no Chromium on PATH (apt-get install chromium)"
    if not docker_answers():
        missing["docker"] = "no Docker engine answers"
    for item in items:
        for name, reason in missing.items():
            if item.get_closest_marker(name) and name not in required:
                item.add_marker(pytest.mark.skip(reason=reason))


EMPTYING = pytest.StashKey["Emptying"]()
#: The file of the test that ran last.
BEFORE = pytest.StashKey[Path]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let each file begin with an empty database, and say who left something there.

    PostgreSQL may still carry out what a process of the file before asked for, although that has ended.
    """
    stash = item.config.stash
    before, stash[BEFORE] = stash.get(BEFORE, item.path), item.path
    if before != item.path and EMPTYING in stash and item.get_closest_marker("django_db"):
        if left := stash[EMPTYING].applications():
            item.warn(pytest.PytestWarning(f"{before.relative_to(REPOSITORY)} left the applications {', '.join(left)} behind"))
        stash[EMPTYING]()


@pytest.fixture(scope="session")
def django_db_setup(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, request: pytest.FixtureRequest
) -> Iterator[Emptying]:
    """The tests' database, and what empties it."""
    from django.test import TransactionTestCase

    from tests.database import Emptying
    from zenith_site.common.application import import_tasks

    # For the first import of the task modules, Celery sets Django up once more, which takes pytest's own handlers from the log.
    import_tasks()
    with django_db_blocker.unblock():
        emptying = request.config.stash[EMPTYING] = Emptying()
    with pytest.MonkeyPatch.context() as patch:
        # In the place of Django's flush; what a test that is not transactional did is rolled back as ever.
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda _: emptying())
        yield emptying
    del request.config.stash[EMPTYING]
    emptying.close()


@pytest.fixture(scope="module")
def module_database(django_db_setup: Emptying, django_db_blocker: DjangoDbBlocker) -> Iterator[Emptying]:
    """Let a module's fixtures use the database, as its tests do.

    It is emptied once more at the end: a module's own engine goes on after its last test, and takes in what it finds in Redis.
    """
    with django_db_blocker.unblock():
        yield django_db_setup
        django_db_setup()


@pytest.fixture(scope="session")
def browser_path() -> str:
    """The path of Chromium; a failure where it is required and missing."""
    path = find_browser()
    if path is None:
        pytest.fail("ZENITH_REQUIRE names browser, but there is no Chromium on PATH")
    return path


@pytest.fixture
def process_environment(transactional_db: None) -> dict[str, str]:
    """The environment for a process that a test starts: the same settings, database and Redis as the test's own."""
    from tests.stack import environment

    return environment()
