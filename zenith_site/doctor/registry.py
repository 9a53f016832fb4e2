"""The registry of checks, and how they run."""

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
    """The severity of a finding, or the result of a check."""

    OK = "ok"
    SKIPPED = "skipped"
    NOTICE = "notice"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One problem and its fix: a command, a setting, or both."""

    level: Level
    what: str
    fix: str


Function = Callable[[], Iterable[Finding]]


@dataclass(frozen=True)
class Check:
    """A named function, and the servers that it needs."""

    name: str
    function: Function
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """The findings of a check. It was skipped if `missing` names a server that does not answer, or `skipped` says why."""

    name: str
    findings: tuple[Finding, ...]
    missing: str = ""
    skipped: str = ""

    @property
    def level(self) -> Level:
        """The level of the worst finding."""
        if self.missing or self.skipped:
            return Level.SKIPPED
        levels = [finding.level for finding in self.findings]
        return next((level for level in (Level.ERROR, Level.WARNING, Level.NOTICE) if level in levels), Level.OK)


CHECKS: Final[dict[str, Check]] = {}

#: Returns the results of the checks of the application with a name; None if there is no such application.
OfApplication = Callable[[str], "list[Result] | None"]
_OF_APPLICATION: Final[list[OfApplication]] = []


def checks_applications(function: OfApplication) -> OfApplication:
    """Register a function that checks applications."""
    _OF_APPLICATION.append(function)
    return function


def run_application(name: str) -> list[Result] | None:
    """Run the checks of the application with this name; None if there is no such application."""
    autodiscover_modules("doctor")
    found = [results for function in _OF_APPLICATION if (results := function(name)) is not None]
    return [result for results in found for result in results] if found else None


def check(name: str, *needs: str) -> Callable[[Function], Function]:
    """Register a check; one that checks whether a server answers has the server's name."""

    def register(function: Function) -> Function:
        CHECKS[name] = Check(name, function, needs)
        return function

    return register


def error(what: str, fix: str) -> Finding:
    """Return a finding that stops tasks, now or soon."""
    return Finding(Level.ERROR, what, fix)


def warning(what: str, fix: str) -> Finding:
    """Return a finding that does not stop anything yet."""
    return Finding(Level.WARNING, what, fix)


def run(names: Iterable[str] = ()) -> list[Result]:
    """Run these checks, or all. Those of the servers come first, because the others depend on them."""
    autodiscover_modules("doctor")
    selected = set(names) or set(CHECKS)
    unreachable: set[str] = set()
    results = []
    for item in sorted(CHECKS.values(), key=lambda item: item.name not in (POSTGRESQL, REDIS)):
        if item.name not in selected and item.name not in (POSTGRESQL, REDIS):
            continue
        result = _run(item, unreachable)
        if item.name in (POSTGRESQL, REDIS) and result.findings:
            unreachable.add(item.name)
        if item.name in selected or result.level == Level.ERROR:
            results.append(result)
    return results


def _run(item: Check, unreachable: set[str]) -> Result:
    missing = next((server for server in item.needs if server in unreachable), "")
    if missing:
        return Result(item.name, (), missing)
    try:
        return Result(item.name, tuple(item.function()))
    except UNAVAILABLE as failed:
        reason = " ".join(str(failed).split()) or type(failed).__name__
        return Result(item.name, (error(f"could not be checked: {reason}", "fix the findings above, then run this again"),))
    except Exception as bug:
        logger.debug("The check failed", exc_info=True)
        return Result(item.name, (error(f"could not be checked: {type(bug).__name__}: {bug}", "report it: the check has a bug"),))
