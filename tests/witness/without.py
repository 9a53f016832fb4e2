"""A pytest plugin that leaves out the tests and classes named in ZENITH_WITNESS_WITHOUT, one a line.

pytest's own `--deselect` takes a name for the beginning of others: `test_active` would leave out `test_active_queues`, too.
"""

from __future__ import annotations

import os

import pytest

VARIABLE = "ZENITH_WITNESS_WITHOUT"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave them out."""
    names = os.environ.get(VARIABLE, "").splitlines()
    left_out = [item for item in items if any(is_named(item.nodeid, name) for name in names)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def is_named(test: str, name: str) -> bool:
    """Return whether a name means a test: it is the test's own, with or without parameters, or its class's."""
    return test == name or test.startswith((f"{name}[", f"{name}::"))
