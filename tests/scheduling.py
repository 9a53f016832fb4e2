"""A pytest plugin: which tests run beside each other under pytest-xdist, and in which order.

A file is a unit, run by one process from end to end, so that its module's fixtures are made once. Those in a browser share one,
for the sake of one running site; of tests/witness each test is one. Units that take long begin first; they mostly wait, so one
process begins at the other end of the queue, with what keeps a core busy.

Order is drawn by pytest-randomly, whose seed is printed: `--randomly-seed=…` draws the same again.
"""

from __future__ import annotations

import os
import random
from pathlib import PurePosixPath

import pytest
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling
from xdist.workermanage import WorkerController

CORES = os.cpu_count() or 1
#: A directory whose files are one unit, and one that is not: of the pages, with data of their own.
SHARED = "tests/browser"
APART = "tests/browser/test_pages.py"
#: A directory of which each test is a unit of its own.
SINGLE = "tests/witness"
#: Fixtures that lead to processes of Zenith's own.
PROCESS_FIXTURES = {"module_database", "process_environment", "only_world"}
#: What begins first: what takes long, and of that what is waited for by others (docker/conftest.py: `networks`).
FIRST = (
    "tests/docker/test_hosts", "tests/browser/test_pages", "tests/witness", "tests/browser", "tests/faults/test_servers",
    "tests/faults/test_engines", "tests/docker/test_compose", "tests/attached", "tests/faults", "tests/docker", "tests/hostile",
    "tests/integration/test_api_schema", "tests/integration/test_up", "tests/integration/test_auth_doors",
)  # fmt: skip


def unit_of(nodeid: str) -> str:
    """Return the unit that a test belongs to."""
    path = nodeid.partition("::")[0]
    if str(PurePosixPath(path).parent) == SINGLE:
        return nodeid
    return SHARED if str(PurePosixPath(path).parent) == SHARED and path != APART else path


class UnitScheduling(LoadScopeScheduling):
    """Hands out units in the order in which they were collected; to one process from the end."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _assign_work_unit(self, node: WorkerController) -> None:
        if len(self.nodes) > CORES and node is self.nodes[0]:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> UnitScheduling:
    """Take this scheduling with `-n`."""
    return UnitScheduling(config, log)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what leads to processes, and what commits, in time for `-m`."""
    fixtures = set(getattr(item, "fixturenames", ()))
    if PROCESS_FIXTURES & fixtures:
        item.add_marker(pytest.mark.processes)
    database = item.get_closest_marker("django_db")
    if "transactional_db" in fixtures or (database and database.kwargs.get("transaction")):
        item.add_marker(pytest.mark.commits)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a unit together, the long units first, after order was drawn.

    In a file, tests that need no process of its module's run before those that do, which would take their tasks from them.
    pytest-django sorts all tests that commit behind all others, because its flush loses what migrations made; ours does not.
    """
    drawn = {unit: number for number, unit in enumerate(dict.fromkeys(unit_of(item.nodeid) for item in items))}
    files = {file: number for number, file in enumerate(dict.fromkeys(item.path for item in items))}

    def place(item: pytest.Item) -> tuple[int, int, int, bool]:
        rank = next((number for number, start in enumerate(FIRST) if item.nodeid.startswith(start)), len(FIRST))
        return rank, drawn[unit_of(item.nodeid)], files[item.path], item.get_closest_marker("processes") is not None

    items.sort(key=place)


@pytest.hookimpl(trylast=True)
def pytest_runtestloop() -> None:
    """Let what tests draw themselves be drawn anew: two workers with one seed would choose the same ports."""
    random.seed()
