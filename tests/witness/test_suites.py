"""The suites of Celery, kombu and django-celery-results end on Zenith as expected; what does not pass is listed, and why."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import redis

from tests.processes import REPOSITORY, exec_with_parent
from tests.servers import IS_LONG, SEED
from tests.waiting import PATIENCE
from tests.witness import without
from tests.witness.expectations import MAY_PASS, NOT_EXPECTED, ONLY_WHEN_LONG, PARTS, Part
from tests.witness.source import suite_of
from zenith_site.embedded.servers import EmbeddedServers

pytestmark = pytest.mark.witness

#: Seconds for one part.
WITHIN = 600
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "ZENITH_TESTS", SEED)
OPTIONS = (
    "-q", "-c", "pytest.ini", "--rootdir", ".", "--tb", "short", "-W", "ignore", "-p", "no:randomly", "-p", "no:xdist",
    "-p", "no:schemathesis", "-p", "no:cacheprovider", "-p", "tests.witness.without",
)  # fmt: skip
PLUGINS = {
    "plugin": ("-p", "no:django", "-p", "celery.contrib.pytest", "-p", "tests.witness.plugin"),
    "stored_results": ("-p", "tests.servers", "--ds", "tests.settings", "-p", "tests.witness.stored_results"),
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The port of a Redis without a password, which the suites expect."""
    with EmbeddedServers(tmp_path, postgres=False, fast=True) as servers:
        url = servers.addresses.redis_url
        redis.Redis.from_url(url).config_set("requirepass", "")
        yield url.rpartition(":")[2].partition("/")[0]


@pytest.mark.parametrize("part", [part for part in PARTS if IS_LONG or not part.only_when_long], ids=lambda part: part.name)
def test_a_suite_ends_as_expected(part: Part, server: str, tmp_path: Path) -> None:
    suite, report = suite_of(part.package), tmp_path / "report.xml"
    chosen = [f"{part.directory}/{name}" for name in part.tests]
    passed_over = [] if IS_LONG else [name for name in (*ONLY_WHEN_LONG, *NOT_EXPECTED) if name.partition("::")[0] in part.files]
    address = f"redis://127.0.0.1:{server}/0"
    inherited = {name: value for name, value in os.environ.items() if name in INHERITED}
    environment = {
        **inherited, "TEST_BROKER": address, "TEST_BACKEND": address, "REDIS_HOST": "127.0.0.1", "REDIS_PORT": server,
        "REDIS_6379_TCP": server, without.VARIABLE: "\n".join(f"{part.directory}/{name}" for name in passed_over),
        "PYTHONPATH": f"{suite}{os.pathsep}{REPOSITORY}",
        # Some of their tests start `celery` by its name.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    command = ("-m", "pytest", *chosen, *OPTIONS, *PLUGINS[part.plugin], f"--junitxml={report}")
    done = subprocess.run(
        exec_with_parent(sys.executable, *command), cwd=suite, env=environment, capture_output=True, text=True, check=False,
        timeout=WITHIN * PATIENCE * (5 if IS_LONG else 1),
    )  # fmt: skip
    assert report.exists(), done.stdout[-4000:] + done.stderr[-4000:]
    failed, passed = _read(report, part.directory)
    expected = {name for name in failed | passed if any(without.is_named(name, listed) for listed in NOT_EXPECTED)}
    assert not failed - expected, f"{sorted(failed - expected)}\n{done.stdout[-12_000:]}"
    surprises = (passed & expected) - MAY_PASS
    assert not surprises, f"these pass, and are listed as if they did not: {sorted(surprises)}"
    assert len(passed) >= part.at_least, f"only {len(passed)} ran:\n{done.stdout[-4000:]}"


def _read(report: Path, directory: str) -> tuple[set[str], set[str]]:
    """Return the tests that failed, and those that passed, by their names below a directory."""
    failed, passed = set(), set()
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 -- pytest wrote it
        file, _, scope = case.attrib["classname"].removeprefix(directory.replace("/", ".") + ".").partition(".")
        name = "::".join(filter(None, (f"{file}.py", scope.replace(".", "::"), case.attrib["name"])))
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed.add(name)
        elif "skipped" not in kinds:
            passed.add(name)
    return failed, passed - failed
