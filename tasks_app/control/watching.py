"""Begin to watch an application, or change how, for people and programs, from a process that cannot read brokers' URLs."""

from __future__ import annotations

from tasks_app.models import Application
from tasks_app.watching import applications, connection_tests
from tasks_app.watching.applications import Watch
from tasks_app.watching.brokers import readable
from tasks_app.watching.engine_key import sealed_for_engines
from zenith_site.common.errors import InvalidInputError, Problem


def watched(name: str) -> Application | None:
    """Return the row of a watched application, also if it is not watched any more; None for others."""
    row = Application.named(name)
    return row if row is not None and row.is_watched else None


def begin(name: str, changes: Watch, *, test: bool) -> Application:
    """Watch an application; with `test`, only if an engine can use its broker.

    Raises InvalidInputError with the reason why not, or StateConflictError.
    """
    if test:
        _require_usable(name, changes, None)
    return applications.watch(name, changes, sealed_for_engines, only_new=True)[0]


def change(row: Application, changes: Watch, *, test: bool) -> Application:
    """Change how an application is watched; what is None stays as it is. Raises as `begin`."""
    if test:
        _require_usable(row.name, changes, row)
    return applications.watch(row.name, changes, sealed_for_engines)[0]


def why_unusable(name: str, changes: Watch, row: Application | None) -> str:
    """Have an engine try the broker; return why it cannot be watched, or an empty text.

    Arguments:
        row: the application that is changed; None for a new one.

    Raises InvalidInputError, or StateConflictError if no engine tried.
    """
    url = applications.check(name, changes)
    if url is None and (row is None or not row.broker):
        raise InvalidInputError(Problem("/url", f"is missing: {name} is not watched yet"))
    prefix = changes.key_prefix if changes.key_prefix is not None else row.key_prefix if row else ""
    serializers = ",".join(changes.serializers) if changes.serializers is not None else row.serializers if row else "json"
    return connection_tests.ask(row, url, prefix, readable(serializers))


def _require_usable(name: str, changes: Watch, row: Application | None) -> None:
    if reason := why_unusable(name, changes, row):
        raise UnusableBrokerError(reason)


class UnusableBrokerError(InvalidInputError):
    """The broker cannot be watched.

    Attributes:
        reason: why not; shows nothing of its URL.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(Problem("/url", f"its broker cannot be watched: {reason}"))
        self.reason = reason
