"""`/ws/page`: tells an open page that its content has changed, so that it requests its fragments again.

The query says what the page shows:

- `on=tasks,queues`: topics. `tasks` follows the events of tasks, and `progress` what they tell of how far they are; any other
  topic is a name passed to `zenith_site.common.live_updates.refresh_pages`. Every page also gets `notifications`, for the bell.
  `task-log-KEY` announces what a task logs, if the caller may see the task.
- `task=ID`, `name=NAME` (each may be repeated): narrows `tasks` to these.
- `family=ID`: narrows `tasks` to these, the tasks that they sent while they ran, their workflows, and their replacements.
- `after=N`: the newest event that the page has seen; anything later is reported at once.

A frame is `{"type": "CHANGED", "topics": […], "event_id": N}`, at most two a second. It carries no content: the page
requests its own view, which knows its filters, order and permissions.
"""

from typing import Any, Final
from urllib.parse import parse_qs

from channels.db import database_sync_to_async

from tasks_app.models import Task
from tasks_app.models.application import NATIVE_ID
from tasks_app.queries import feed
from tasks_app.queries.feed import FeedEvent
from tasks_app.recording.live import GROUP
from tasks_app.recording.log_watch import PREFIX as LOG_PREFIX
from tasks_app.recording.log_watch import topic as log_topic
from tasks_app.web.consumers import PumpingConsumer
from tasks_app.web.fan_out_cache import fan_out_cache
from zenith_site.common.callers import Shows
from zenith_site.common.live_updates import PAGES
from zenith_worker.wire.ids import as_uuid

TASKS: Final = "tasks"
PROGRESS: Final = "progress"
NOTIFICATIONS: Final = "notifications"
#: The topics of pages that callers who may not see Zenith's own application may open.
FILTERED_TOPICS: Final = frozenset({TASKS, PROGRESS, "dead-letters"})
#: Logs that one page of a limited caller follows.
MOST_LOGS: Final = 10
_MOST: Final = 2**63 - 1


class PageConsumer(PumpingConsumer):
    """One open page."""

    groups = (GROUP, PAGES)
    shows = Shows.FILTERED
    rate, burst = 2.0, 2

    async def begin(self) -> None:
        """Read what the page shows; the first pump reports what changed since `after`."""
        query = parse_qs(self.scope["query_string"].decode("latin1"))
        self._topics = {topic for text in query.get("on", []) for topic in text.split(",") if topic} | {NOTIFICATIONS}
        if self.seen is not None:
            self._topics = self._without_logs(self.seen) | await database_sync_to_async(self._seen_logs)(self.seen)
        self._tasks = frozenset(query.get("task", []))
        self._families = frozenset(query.get("family", []))
        self._names = frozenset(query.get("name", []))
        self._changed: set[str] = set()
        after = _event_id(query.get("after", [""])[-1])
        if after is None or TASKS not in self._topics:
            self._after = await fan_out_cache().feed.newest()
        else:
            self._after = after
            if not await database_sync_to_async(feed.reaches_back_to)(after):
                self._changed.add(TASKS)

    def _without_logs(self, seen: frozenset[int]) -> set[str]:
        """Return the topics, without those of logs, that a caller may hear of who sees only these applications."""
        if NATIVE_ID not in seen:
            # All other topics are of Zenith's own application, or of all; their pages refuse the caller.
            return self._topics & FILTERED_TOPICS
        # Notifications are of all applications.
        return {topic for topic in self._topics if not topic.startswith(LOG_PREFIX)} - {NOTIFICATIONS}

    def _seen_logs(self, seen: frozenset[int]) -> set[str]:
        """Return the topics of logs of tasks of these applications; one query, or none."""
        keys = [key for topic in self._topics if (key := as_uuid(topic.removeprefix(LOG_PREFIX))) and topic == log_topic(key)]
        if not keys:
            return set()
        tasks = Task.objects.filter(pk__in=keys[:MOST_LOGS], application_id__in=seen).order_by()
        return {log_topic(key) for key in tasks.values_list("pk", flat=True)}

    async def page_changed(self, message: dict[str, Any]) -> None:
        """Note that something without an event has changed."""
        if hasattr(self, "_changed"):
            self._changed.update(self._topics.intersection(message["topics"]))
            self.wake()

    async def tasks_progress(self, message: dict[str, Any]) -> None:
        """Note that tasks have told how far they are: the page shows that of one, or of whatever it lists."""
        if PROGRESS not in getattr(self, "_topics", ()) or not hasattr(self, "_changed"):
            return
        tasks = {task_id for task_id, application_id in message["tasks"] if self.seen is None or application_id in self.seen}
        shown = self._tasks | self._families
        if not tasks.isdisjoint(shown) if shown else tasks:
            self._changed.add(PROGRESS)
            self.wake()

    async def pump(self) -> None:
        """Send one frame for everything that changed since the last."""
        await self._follow_tasks()
        if not self._changed:
            return
        await self._throttle.wait()
        topics, self._changed = sorted(self._changed), set()
        await self.send_json({"type": "CHANGED", "topics": topics, "event_id": self._after})

    async def handle(self, frame: dict[str, Any]) -> bool:
        """Handle REFRESH: tell the page to reload everything."""
        if frame["type"] != "REFRESH":
            return False
        self._changed.update(self._topics)
        self.wake()
        return True

    async def _follow_tasks(self) -> None:
        if TASKS not in self._topics:
            return
        events = await fan_out_cache().feed.since(self._after)
        if events is None:
            self._after = await fan_out_cache().feed.newest()
            self._changed.add(TASKS)
        elif events:
            self._after = events[-1].id
            if any(map(self._shows, events)):
                self._changed.add(TASKS)

    def _shows(self, event: FeedEvent) -> bool:
        if not self.sees(event) or (self._names and event.name not in self._names):
            return False
        if not self._tasks and not self._families:
            return True
        return str(event.task_id) in self._tasks or event.concerns(self._families)


def _event_id(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text[:20]) <= _MOST else None
