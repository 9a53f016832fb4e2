"""Programs that tests need and that no package of Python's brings: a test is skipped without, unless ZENITH_REQUIRE names it."""

from __future__ import annotations

import os
import shutil

import pytest

NAMES = frozenset({"nginx", "pgbouncer", "rabbitmq-server"})
#: Debian keeps servers where only root looks, and has a `rabbitmq-server` of its own before RabbitMQ's, which changes the user.
PATH = f"/usr/lib/rabbitmq/bin:{os.environ.get('PATH', os.defpath)}:/usr/sbin"


def program(name: str) -> str:
    """Return where a program is; skips or fails the test where it is not installed."""
    found = shutil.which(name, path=PATH)
    if found:
        return found
    reason = f"no {name} is installed"
    if name in os.environ.get("ZENITH_REQUIRE", "").split(","):
        pytest.fail(reason)
    pytest.skip(reason)
