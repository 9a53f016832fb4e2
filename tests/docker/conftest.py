"""Fixtures of the tests with a Docker Engine: the project's image, built once per test run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.database import Emptying
from tests.docker.engine import docker
from tests.docker.lab import Lab
from tests.servers import RUN, at_the_end, once_a_run
from tests.stack import running

#: Timeout of a build in seconds, for a slow machine with an empty cache.
BUILD_WITHIN = 900.0
#: Shared by all runs on this machine. Creating and leaving a swarm breaks the networks of other containers of the same engine.
NETWORKS = Path("/var/tmp/zenith-docker-networks.lock")  # noqa: S108
#: The Dockerfile's name of the build stage, which is not part of the image.
BUILD_STAGE = "io.zenith.stage=build"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test in this directory."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.docker)


@pytest.fixture(scope="session")
def image() -> str:
    """The tag of this clone's image; it is unique to this run, and is removed at its end."""
    tag = f"zenith-test:{Path(os.environ[RUN]).name.removeprefix('zenith-tests-').lower().strip('_-')}"
    with once_a_run("image") as first:
        if first:
            docker("build", "--quiet", "--tag", tag, ".", within=BUILD_WITHIN)
            at_the_end("docker", "image", "rm", "--force", tag)
            # The build stage speeds up the next build; older stages only fill the disk.
            given = ("--force", "--filter", f"label={BUILD_STAGE}", "--filter", "until=24h")
            at_the_end("docker", "image", "prune", *given)
    return tag


def hold_networks(how: int) -> Iterator[None]:
    """Hold the lock on the networks of this machine's Docker Engine, fcntl.LOCK_SH or LOCK_EX."""
    with NETWORKS.open("w") as lock:
        fcntl.flock(lock, how)
        yield


@pytest.fixture(scope="module")
def networks() -> Iterator[None]:
    """Keep containers on their networks: no test run on this machine creates a swarm meanwhile."""
    yield from hold_networks(fcntl.LOCK_SH)


@pytest.fixture(scope="module")
def rows(module_database: Emptying) -> Iterator[None]:
    """Let a module's tests share the database's content, which is deleted at the end."""
    yield
    module_database()


@pytest.fixture(scope="module")
def lab(rows: None, networks: None, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of nodes on real engines for one module; rows persist between its tests, and everything is removed at the end."""
    from django.conf import settings

    settings.ZENITH_ALLOWED_IMAGES.append(image)
    for stack in running(tmp_path_factory.mktemp("lab")):
        made = Lab(stack, image)
        try:
            stack.engine()
            yield made
        finally:
            made.clear()
            settings.ZENITH_ALLOWED_IMAGES.remove(image)
