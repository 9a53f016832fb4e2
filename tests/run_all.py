"""`make test`: every stage in turn, each printed before it runs; fails when one of them failed."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
TOOLS = Path(sys.executable).parent
PYTHON = (sys.executable, "-m")


@dataclass(frozen=True)
class Stage:
    """One check: what it says, and the command that runs it."""

    name: str
    command: tuple[str, ...]


LINTERS = (
    Stage("style of the code", (*PYTHON, "ruff", "check", ".")),
    Stage("format of the code", (*PYTHON, "ruff", "format", "--check", ".")),
    Stage("types", (*PYTHON, "mypy")),
    Stage("direction of imports", (sys.executable, str(TOOLS / "lint-imports"), "--no-logo")),
    Stage("page scripts", (str(TOOLS / "biome"), "ci", "--error-on-warnings", ".")),
    Stage("templates", (*PYTHON, "djlint", "--lint", "--quiet", "templates")),
    # It warns that no database answers, which this check does not need.
    Stage("migrations", (sys.executable, "-W", "ignore::RuntimeWarning", "manage.py", "makemigrations", "--check", "--dry-run")),
)


def main(arguments: list[str]) -> int:
    """Run the stages; the exit status is 0 when all passed."""
    lint_only = "--lint-only" in arguments
    failed = [stage.name for stage in LINTERS if not _run(stage)]
    if not lint_only:
        tests = Stage("tests", (*PYTHON, "pytest", *arguments))
        failed += [] if _run(tests) else [tests.name]
    if failed:
        print(f"\nFailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _run(stage: Stage) -> bool:
    shown = " ".join(stage.command).replace(str(TOOLS) + os.sep, "")
    print(f"\n== {stage.name}: {shown}", flush=True)
    try:
        return subprocess.run(stage.command, cwd=REPOSITORY, check=False).returncode == 0
    except FileNotFoundError as error:
        print(f"{error.filename} is not installed", file=sys.stderr)
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
