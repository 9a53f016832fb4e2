"""Applications for pages, the API and the command: what they are, their workers, and how many tasks they have."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import redis

from tasks_app.models import Application
from tasks_app.models.application import Visible
from tasks_app.queries.status_counts import COUNTED_TO, own_counts, status_counts
from tasks_app.search.planner import status_counts_of
from tasks_app.watching import observer_state
from tasks_app.watching.observer_state import ObserverState
from zenith_worker.wire import guard_names
from zenith_worker.wire.applications import dropped_reports
from zenith_worker.wire.guard_names import LiveGuards
from zenith_worker.wire.heartbeat import WorkerBeat, read_several
from zenith_worker.wire.states import Status


@dataclass(frozen=True, slots=True)
class ApplicationView:
    """An application.

    Attributes:
        workers: those with a recent heartbeat, by name.
        by_status: how many of its tasks are in each status, up to COUNTED_TO each, without statuses that none is in; None for
            Zenith's own application, which has no index for it.
        dropped: how many reports its processes dropped because Zenith's Redis was unreachable for too long.
        observer: what the observer of a watched one said lately; None if none runs.
    """

    application: Application
    workers: list[WorkerBeat]
    by_status: Mapping[Status, int] | None = None
    dropped: int = 0
    observer: ObserverState | None = None

    @property
    def online(self) -> int:
        """The number of workers online."""
        return sum(beat.online for beat in self.workers)

    @property
    def attached_online(self) -> int:
        """The number of workers online that report by themselves: of a watched application, those that were attached since."""
        return sum(beat.online and not beat.watched for beat in self.workers)

    @property
    def guards(self) -> LiveGuards | None:
        """The guards that its workers online tell; None for Zenith's own, which do all of that, and for a watched one's."""
        row = self.application
        return None if row.is_native or row.is_watched else guard_names.of_workers(self.workers)

    @property
    def tasks(self) -> int | None:
        """The number of tasks that were counted."""
        return None if self.by_status is None else sum(self.by_status.values())

    @property
    def is_capped(self) -> bool:
        """Whether there are more tasks than were counted."""
        return any(number >= COUNTED_TO for number in (self.by_status or {}).values())


def applications(visible: Visible = None) -> list[ApplicationView]:
    """Return the applications that a caller may see, Zenith's own first, then by name. Two queries. Raises redis.RedisError."""
    rows = [row for row in Application.objects.order_by("name") if visible is None or row.name in visible]
    return _views(sorted(rows, key=lambda row: not row.is_native))


def find(name: str) -> ApplicationView | None:
    """Return the application with a name, or None. Two queries. Raises redis.RedisError."""
    return next(iter(_views(Application.objects.filter(name=name))), None)


def status_counts_in(name: str, visible: Visible = None) -> Mapping[Status, int | None]:
    """Return how many tasks of an application are in each status, up to COUNTED_TO; without a name, of all that one may see.

    None where all applications have too many to count only the tasks of Zenith's own. Four queries at most.
    """
    if not name:
        return status_counts(visible)
    application = Application.named(name) if visible is None or name in visible else None
    if application is None:
        return dict.fromkeys(Status, 0)
    if not application.is_native:
        counted = status_counts_of([application.pk], COUNTED_TO).get(application.pk, {})
        return {status: counted.get(status, 0) for status in Status}
    return own_counts()


def _views(rows: Iterable[Application]) -> list[ApplicationView]:
    rows = list(rows)
    counted = status_counts_of((row.pk for row in rows if not row.is_native), COUNTED_TO)
    beats = read_several(row.key_name for row in rows)
    return [
        ApplicationView(row, beats[row.key_name])
        if row.is_native
        else ApplicationView(
            row,
            beats[row.key_name],
            _present(counted.get(row.pk, {})),
            _dropped(row.name),
            observer_state.read(row.name) if row.is_watched else None,
        )
        for row in rows
    ]


def _dropped(name: str) -> int:
    try:
        return dropped_reports(name)
    except redis.ResponseError:
        return 0  # the application wrote something else there


def _present(counted: Mapping[Status, int]) -> dict[Status, int]:
    return {status: counted[status] for status in Status if counted.get(status)}
