"""What runs in a worker needs neither Django nor a server: everything of it can be imported where there is none."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.processes import REPOSITORY

#: As if neither were installed, nor the rest of this repository.
ALONE = """
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys(["django", "django_celery_results", "zenith_site", "tasks_app", "infra_app"]))
room = importlib.import_module(sys.argv[1])
for module in pkgutil.iter_modules(room.__path__, f"{room.__name__}."):
    importlib.import_module(module.name)
    print(module.name)
"""


@pytest.mark.parametrize("room", ["zenith_worker.wire", "zenith_worker"])
def test_it_is_imported_without_django(room: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    command = [sys.executable, "-c", ALONE, room]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 10


def test_whoever_has_said_no_address_is_told_so() -> None:
    asking = "from zenith_worker.wire import client; client.client()"
    done = subprocess.run([sys.executable, "-c", asking], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)
    assert "call zenith_worker.wire.client.configure() first" in done.stderr
