"""Celery's integration suite ends on Zenith's worker as it is expected to: what fails is listed, with its reason."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import redis

from tests.celery_suite.expectations import FILES, NOT_EXPECTED, NOT_RUN
from tests.celery_suite.source import fetch
from tests.processes import REPOSITORY, tethered
from zenith_site.embedded import EmbeddedServers

pytestmark = pytest.mark.celery

#: Seconds for one file of the suite.
PATIENCE = 900


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that Celery's suite runs in."""
    return fetch(tmp_path_factory.mktemp("suite"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Redis without a password, which the suite expects."""
    directory = tmp_path_factory.mktemp("servers")
    with EmbeddedServers(directory, postgres=False, fast=True) as servers:
        url = servers.addresses.redis_url
        redis.Redis.from_url(url).config_set("requirepass", "")
        yield f"redis://127.0.0.1:{url.rpartition(':')[2].partition('/')[0]}/0"


@pytest.mark.parametrize("file", FILES)
def test_celerys_suite_ends_as_expected(file: str, suite: Path, server: str) -> None:
    report = suite / f"{file}.xml"
    passed_over = [
        option for name in NOT_RUN if name.startswith(f"{file}::") for option in ("--deselect", f"t/integration/{name}")
    ]
    command = [
        "-m", "pytest", f"t/integration/{file}", "-q", "-c", "pytest.ini", "--rootdir", ".", "--tb", "short", "-W", "ignore",
        "-p", "no:django", "-p", "no:randomly", "-p", "no:xdist", "-p", "no:cacheprovider", "-p", "celery.contrib.pytest",
        "-p", "tests.celery_suite.plugin", f"--junitxml={report}", *passed_over,
    ]  # fmt: skip
    port = server.rpartition(":")[2].partition("/")[0]
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")}
    environment = {
        **inherited, "TEST_BROKER": server, "TEST_BACKEND": server, "REDIS_HOST": "127.0.0.1", "REDIS_PORT": port,
        "PYTHONPATH": f"{suite}{os.pathsep}{REPOSITORY}",
    }  # fmt: skip
    redis.Redis.from_url(server).flushall()
    done = subprocess.run(
        tethered(sys.executable, *command), cwd=suite, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert report.exists(), done.stdout[-4000:] + done.stderr[-4000:]
    failed, passed = _read(report)
    expected = {name for name in NOT_EXPECTED if name.startswith(f"{file}::")}
    assert failed - expected == set(), done.stdout[-8000:]
    assert expected & passed == set(), "these pass, and are listed as if they did not"
    assert len(passed) > 0


def _read(report: Path) -> tuple[set[str], set[str]]:
    """Return the tests that failed, and those that passed, by their names below t/integration."""
    failed, passed = set(), set()
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 -- pytest wrote it
        file, _, scope = case.attrib["classname"].removeprefix("t.integration.").partition(".")
        name = "::".join(filter(None, (f"{file}.py", scope.replace(".", "::"), case.attrib["name"])))
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed.add(name)
        elif "skipped" not in kinds:
            passed.add(name)
    return failed, passed - failed
