"""The checks, and running them."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from django.utils.module_loading import autodiscover_modules

from zenith_site.problems import UNAVAILABLE

logger = logging.getLogger(__name__)

POSTGRESQL: Final = "PostgreSQL"
REDIS: Final = "Redis"


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and what mends it: a command, a setting, or both."""

    level: Level
    what: str
    fix: str


Function = Callable[[], Iterable[Finding]]


@dataclass(frozen=True)
class Check:
    """A named function, and the servers that it cannot do without."""

    name: str
    function: Function
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """What a check found. It is skipped where `missing` names a server that does not answer."""

    name: str
    findings: tuple[Finding, ...]
    missing: str = ""

    @property
    def level(self) -> Level:
        """The worst of its findings."""
        if self.missing:
            return Level.SKIPPED
        levels = [finding.level for finding in self.findings]
        return next((level for level in (Level.ERROR, Level.WARNING) if level in levels), Level.OK)


CHECKS: Final[dict[str, Check]] = {}


def check(name: str, *needs: str) -> Callable[[Function], Function]:
    """Register a check; those that find out whether a server answers are named like it."""

    def register(function: Function) -> Function:
        CHECKS[name] = Check(name, function, needs)
        return function

    return register


def error(what: str, fix: str) -> Finding:
    """Return a finding that stops tasks, or will."""
    return Finding(Level.ERROR, what, fix)


def warning(what: str, fix: str) -> Finding:
    """Return a finding that stops nothing yet."""
    return Finding(Level.WARNING, what, fix)


def run(names: Iterable[str] = ()) -> list[Result]:
    """Run these checks, or all; first of all those that tell whether the servers answer, which the others need."""
    autodiscover_modules("doctor")
    wanted = set(names) or set(CHECKS)
    away: set[str] = set()
    results = []
    for item in sorted(CHECKS.values(), key=lambda item: item.name not in (POSTGRESQL, REDIS)):
        if item.name not in wanted and item.name not in (POSTGRESQL, REDIS):
            continue
        result = _run(item, away)
        if item.name in (POSTGRESQL, REDIS) and result.findings:
            away.add(item.name)
        if item.name in wanted or result.level == Level.ERROR:
            results.append(result)
    return results


def _run(item: Check, away: set[str]) -> Result:
    missing = next((server for server in item.needs if server in away), "")
    if missing:
        return Result(item.name, (), missing)
    try:
        return Result(item.name, tuple(item.function()))
    except UNAVAILABLE as failed:
        said = " ".join(str(failed).split()) or type(failed).__name__
        return Result(item.name, (error(f"could not be checked: {said}", "look at the findings above, then run this again"),))
    except Exception as bug:
        logger.debug("The check failed", exc_info=True)
        return Result(item.name, (error(f"could not be checked: {type(bug).__name__}: {bug}", "report it: the check has a bug"),))
