"""Run the docker command in the tests of images and containers."""

from __future__ import annotations

import os
import subprocess
from functools import cache

from tests.processes import REPOSITORY, TAIL
from tests.waiting import PATIENCE


def docker(*arguments: str, within: float = 120.0, given: str = "") -> str:
    """Run `docker` in the clone and return its output; if it fails, fail with its output."""
    return run("docker", *arguments, within=within, given=given)


def run(*command: str, within: float = 60.0, given: str = "", environment: dict[str, str] | None = None) -> str:
    """Run a command in the clone with a text as standard input; return its stripped standard output."""
    done = subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, **builder(), **(environment or {})}, input=given, capture_output=True,
        text=True, timeout=within * PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-TAIL:]}"
    return done.stdout.strip()


@cache
def builder() -> dict[str, str]:
    """Choose the builder that this machine has: without the plugin of the newer one, newer clients cannot build."""
    has_plugin = subprocess.run(("docker", "buildx", "version"), capture_output=True, check=False).returncode == 0
    return {"DOCKER_BUILDKIT": "1" if has_plugin else "0"}
