"""`make test`, `make check` and `make test-long`: the linters, then the tests; fails when one of them failed.

Each stage prints its command and what it took. Linters run beside each other, one for each core.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
TOOLS = Path(sys.executable).parent
PYTHON = (sys.executable, "-m")
CORES = os.cpu_count() or 1
#: Fault cases and nodes mostly wait, so there are more processes than cores.
PROCESSES = CORES + 4
#: What can be tested without a process of Zenith's own, a browser or an engine, and be rolled back.
QUICK = "not processes and not commits and not browser and not docker and not faults"
QUICK_PATHS = ("tests/unit", "tests/integration")
#: `make test-long`: how many times the cases with a seed run, and how many examples are drawn for each operation of the API.
SEEDS, EXAMPLES = 5, 60


@dataclass(frozen=True)
class Stage:
    """One check: what it says, the command that runs it, and what it adds to the environment."""

    name: str
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a stage came to: its exit status, what it printed where that was caught, and the seconds it took."""

    stage: Stage
    status: int
    output: str
    seconds: float


LINTERS = (
    Stage("types", (*PYTHON, "mypy")),
    Stage("style of the code", (*PYTHON, "ruff", "check", ".")),
    Stage("format of the code", (*PYTHON, "ruff", "format", "--check", ".")),
    # Names that Python 3.9 does not know; ruff finds the syntax and the annotations that it does not.
    Stage("Python 3.9 of zenith_worker", (str(TOOLS / "vermin"), "--target=3.9-", "--violations", "--quiet", "zenith_worker")),
    Stage("direction of imports", (sys.executable, str(TOOLS / "lint-imports"), "--no-logo")),
    Stage("page scripts", (str(TOOLS / "biome"), "ci", "--error-on-warnings", ".")),
    Stage("templates", (*PYTHON, "djlint", "--lint", "--quiet", "templates")),
    # It warns that no database answers, which this check does not need.
    Stage("migrations", (sys.executable, "-W", "ignore::RuntimeWarning", "manage.py", "makemigrations", "--check", "--dry-run")),
)


def main(arguments: Sequence[str]) -> int:
    """Run the stages; the exit status is 0 when all passed. What is not known here goes to pytest."""
    parser = argparse.ArgumentParser(description=__doc__, add_help=False)
    among = parser.add_mutually_exclusive_group()
    among.add_argument("--lint-only", action="store_true")
    among.add_argument("--quick", action="store_true")
    among.add_argument("--long", action="store_true")
    parser.add_argument("--no-lint", action="store_true")
    options, given = parser.parse_known_args(arguments)
    outcomes = [] if options.no_lint else _lint()
    if not options.lint_only:
        outcomes += [_show(_run(stage)) for stage in _tests(given, quick=options.quick, long=options.long)]
    print("\n== what each stage took")
    for outcome in outcomes:
        print(f"{outcome.seconds:7.1f} s  {outcome.stage.name}")
    failed = [outcome.stage.name for outcome in outcomes if outcome.status]
    if failed:
        print(f"\nFailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _tests(given: Sequence[str], *, quick: bool, long: bool) -> list[Stage]:
    def stage(name: str, *arguments: str, processes: int = PROCESSES, environment: tuple[tuple[str, str], ...] = ()) -> Stage:
        return Stage(name, (*PYTHON, "pytest", f"--numprocesses={processes}", *arguments, *given), environment)

    if quick:
        return [stage("tests", "-m", QUICK, *QUICK_PATHS, processes=CORES)]
    if long:
        examples = (("ZENITH_SCHEMA_EXAMPLES", str(EXAMPLES)), ("ZENITH_TESTS", "long"))
        again = [stage(f"faults, run {number} of {SEEDS}", "tests/faults", "tests/hostile") for number in range(2, SEEDS + 1)]
        return [stage("tests", environment=examples), *again]
    return [stage("tests")]


def _lint() -> list[Outcome]:
    with ThreadPoolExecutor(CORES) as pool:
        return [_show(outcome) for outcome in pool.map(lambda stage: _run(stage, caught=True), LINTERS)]


def _run(stage: Stage, *, caught: bool = False) -> Outcome:
    began = time.monotonic()
    if not caught:
        _announce(stage)
    environment = {**os.environ, **dict(stage.environment)}
    # Hundreds of processes are started: without their byte code each would compile what it imports.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        done = subprocess.run(
            stage.command, cwd=REPOSITORY, check=False, text=True, env=environment,
            stdout=subprocess.PIPE if caught else None, stderr=subprocess.STDOUT if caught else None,
        )  # fmt: skip
    except FileNotFoundError as error:
        return Outcome(stage, 1, f"{error.filename} is not installed\n", time.monotonic() - began)
    return Outcome(stage, done.returncode, done.stdout or "", time.monotonic() - began)


def _announce(stage: Stage) -> None:
    print(f"\n== {stage.name}: {' '.join(stage.command).replace(str(TOOLS) + os.sep, '')}", flush=True)


def _show(outcome: Outcome) -> Outcome:
    if outcome.output or outcome.stage in LINTERS:
        _announce(outcome.stage)
        print(outcome.output, end="", flush=True)
    return outcome


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
