"""One world for the cases of one process; what a case damages is made new for the next."""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness import World

SEED = "ZENITH_FAULTS_SEED"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every case."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)


def seed() -> int:
    """Return the seed of this run: another one each time, unless it is set to see a failure again."""
    given = os.environ.get(SEED)
    return int(given) if given else random.randrange(1_000_000)


@pytest.fixture(scope="package")
def only_world() -> Iterator[World]:
    """The servers, until the last case."""
    directory = Path(tempfile.mkdtemp(prefix="zenith-faults-"))
    # PostgreSQL runs as another user when the tests run as root.
    directory.chmod(0o711)
    world = World(directory, random.Random())
    try:
        world.open()
        yield world
    finally:
        world.close()


@pytest.fixture
def world(only_world: World, request: pytest.FixtureRequest, record_property: object) -> Iterator[World]:
    """The world, seeded for one case; the seed is shown when it fails."""
    number = seed()
    print(f"{SEED}={number}")  # noqa: T201 (pytest shows it for a failed test only)
    only_world.rng = random.Random(number)
    only_world.recovery.case = request.node.name
    yield only_world
    report(only_world, number)


def report(world: World, number: int) -> None:
    """Append what a case measured to the file that ZENITH_FAULTS_REPORT names, for docs/reliability.md."""
    if path := os.environ.get("ZENITH_FAULTS_REPORT"):
        with Path(path).open("a") as file:
            file.write(json.dumps({"case": world.recovery.case, "seed": number, **world.recovery.seconds}) + "\n")
