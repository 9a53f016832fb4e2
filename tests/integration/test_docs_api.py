"""docs/api.md: every example is run against a real Zenith, and prints what the guide says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import stack as stacks
from tests.database import Emptying
from tests.processes import REPOSITORY, free_port

pytestmark = pytest.mark.django_db

GUIDE = REPOSITORY / "docs" / "api.md"
PROGRAMS = {"sh": ("bash", "-eu", "-o", "pipefail"), "python": (sys.executable,), "js": ("node",)}
SUFFIXES = {"sh": ".sh", "python": ".py", "js": ".mjs"}
_EXAMPLE = re.compile(r"(?:<!-- prints: (?P<prints>.*?) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.S | re.M)


@dataclass(frozen=True)
class Example:
    """A fenced block of the guide, and what stands above it about what it prints."""

    line: int
    language: str
    code: str
    prints: str | None


def examples() -> Iterator[Example]:
    text = GUIDE.read_text()
    for found in _EXAMPLE.finditer(text):
        line = text.count("\n", 0, found.start("code")) + 1
        yield Example(line, found["language"], found["code"], found["prints"])


ALL = list(examples())


@pytest.fixture(scope="module")
def zenith(module_database: Emptying, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that the guide asks for, of a Zenith that runs."""
    from django.contrib.auth.models import User

    from zenith_site.auth.tokens import create_token
    from zenith_site.models import Scope

    user = User.objects.create_superuser("guide")
    _, raw = create_token(user, "guide", Scope.values)
    for stack in stacks.running(tmp_path_factory.mktemp("guide"), ZENITH_RATE_LIMIT="1000/1s"):
        port = free_port()
        stack.engine()
        stack.worker("guide@tests")
        stack.web(port)
        yield {**os.environ, "ZENITH_URL": f"http://127.0.0.1:{port}", "ZENITH_API_KEY": raw}
        stack.settle()
    # As the end of a test does where its rows are its own.
    module_database()


@pytest.mark.parametrize("example", ALL, ids=lambda example: f"{example.language}-line-{example.line}")
def test_an_example_prints_what_the_guide_says(example: Example, zenith: dict[str, str], tmp_path: Path) -> None:
    assert example.prints, "say above the example what it prints"
    program = PROGRAMS[example.language]
    if shutil.which(program[0]) is None:
        stop = pytest.fail if "js" in os.environ.get("ZENITH_REQUIRE", "") else pytest.skip
        stop(f"no {program[0]} on PATH")
    file = tmp_path / f"example{SUFFIXES[example.language]}"
    file.write_text(example.code)
    done = subprocess.run([*program, str(file)], env=zenith, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(example.prints, done.stdout), done.stdout


def test_the_guide_speaks_all_three_languages() -> None:
    assert {example.language for example in ALL} == set(PROGRAMS)
