"""What the tests with a Docker engine share: the project's image, built once for a run of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.docker.engine import docker

#: Seconds that a build may take on a slow machine with nothing in its cache.
BUILD_WITHIN = 900.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this directory."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.docker)


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """The tag of the image of this clone; no other run has the same, and it is removed at the end."""
    tag = f"zenith-test:{uuid4().hex[:12]}"
    docker("build", "--quiet", "--tag", tag, ".", within=BUILD_WITHIN)
    yield tag
    docker("image", "rm", "--force", tag)
