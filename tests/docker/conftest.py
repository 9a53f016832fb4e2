"""What the tests with a Docker engine share: the project's image, built once for a run of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import setup_databases, teardown_databases

from tests.docker.engine import docker
from tests.docker.lab import Lab
from tests.stack import running

#: Seconds that a build may take on a slow machine with nothing in its cache.
BUILD_WITHIN = 900.0
#: What the Dockerfile calls the stage that is not in the image.
BUILD_STAGE = "io.zenith.stage=build"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this directory; with `pytest -n … --dist loadgroup` one process runs them all, on one image."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.docker)
            item.add_marker(pytest.mark.xdist_group("docker"))


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """The tag of the image of this clone; no other run has the same, and it is removed at the end."""
    tag = f"zenith-test:{uuid4().hex[:12]}"
    docker("build", "--quiet", "--tag", tag, ".", within=BUILD_WITHIN)
    yield tag
    docker("image", "rm", "--force", tag)
    # The stage in which it was built makes the next build quick; those of other days only fill the disk.
    docker("image", "prune", "--force", "--filter", f"label={BUILD_STAGE}", "--filter", "until=24h")


@pytest.fixture(scope="module")
def rows(django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> Iterator[None]:
    """Let a module's tests share what is in the database, which is emptied at the end; made where no test asked for one."""
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        there = connection.settings_dict["NAME"].startswith("test_")
        made = [] if there else setup_databases(verbosity=0, interactive=False, aliases={"default"})
        try:
            yield
        finally:
            call_command("flush", interactive=False, verbosity=0)
            teardown_databases(made, verbosity=0)


@pytest.fixture(scope="module")
def lab(rows: None, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Nodes on real engines, for one module; its rows stay from test to test, and everything is removed at the end."""
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
