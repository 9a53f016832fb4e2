"""Every page that is checked and pictured. A new page is one line here; see docs/pages.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zenith_worker.wire.states import Status

if TYPE_CHECKING:
    from tests.browser.sample import Sample


@dataclass(frozen=True)
class PageCase:
    """A page: its name in the test's id and the picture's file, where it is, and what it answers."""

    name: str
    path: Callable[[Sample], str]
    status: int = 200
    #: Whether it stands in the frame; the pages of what went wrong do not.
    framed: bool = True


@dataclass(frozen=True)
class Picture:
    """A page as the README or docs/ show it."""

    page: str
    theme: str = "dark"
    width: int = 1440

    @property
    def name(self) -> str:
        """The picture's file without its ending."""
        return f"{self.page}-{self.theme}-{self.width}"


def at(path: str) -> Callable[[Sample], str]:
    """A page whose address is always the same."""
    return lambda _: path


def task_in(status: Status) -> Callable[[Sample], str]:
    """The page of a task in this status."""
    return lambda sample: f"/tasks/{sample.task(status)}/"


PAGES = [
    PageCase("overview", at("/")),
    PageCase("tasks", at("/tasks/")),
    PageCase("tasks-search", at("/tasks/?q=error:Timeout")),
    PageCase("tasks-cancel", lambda sample: f"/tasks/act/cancel/?id={sample.task(Status.QUEUED)}"),
    PageCase("workflows", at("/workflows/")),
    PageCase("workflows-filtered", at("/workflows/?status=CANCELLED")),
    PageCase("workflow", lambda sample: f"/workflows/{sample.workflow}/"),
    PageCase("workflow-cancel", lambda sample: f"/workflows/{sample.workflow}/cancel/"),
    PageCase("applications", at("/applications/")),
    PageCase("watch-application", at("/applications/new/watch/")),
    PageCase("task-succeeded", task_in(Status.SUCCESS)),
    PageCase("task-large", lambda sample: f"/tasks/{sample.large()}/"),
    PageCase("task-value", lambda sample: f"/tasks/{sample.large()}/values/result/"),
    PageCase("task-retrying", task_in(Status.RETRY)),
    PageCase("task-failed", task_in(Status.FAILURE)),
    PageCase("task-running", task_in(Status.STARTED)),
    PageCase("task-scheduled", task_in(Status.SCHEDULED)),
    PageCase("task-log", lambda sample: f"/tasks/{sample.task(Status.FAILURE)}/log/?level=warning"),
    PageCase("task-edit", lambda sample: f"/tasks/{sample.task(Status.SCHEDULED)}/edit/"),
    PageCase("dispatch", at("/dispatch/")),
    PageCase("dispatch-task", at("/dispatch/?task=analyze_text")),
    PageCase("dead-letters", at("/dead-letters/")),
    PageCase("dead-letters-filtered", at("/dead-letters/?task=nothing")),
    PageCase("dead-letter-group", lambda sample: f"/dead-letters/{sample.group()}/"),
    PageCase("dead-letters-replay", at("/dead-letters/replay/?all=1")),
    PageCase("analytics", at("/analytics/")),
    PageCase("analytics-empty", at("/analytics/?task=nothing")),
    PageCase("events", at("/events/")),
    PageCase("workers", at("/workers/")),
    PageCase("worker", at("/workers/w1@zen-01/")),
    PageCase("worker-grow", at("/workers/w1@zen-01/grow/")),
    PageCase("queues", at("/queues/")),
    PageCase("queue", at("/queues/of/default/")),
    PageCase("queue-purge", at("/queues/purge/default/")),
    PageCase("nodes", at("/nodes/")),
    PageCase("nodes-filtered", at("/nodes/?status=REMOVED")),
    PageCase("nodes-empty", at("/gallery/no-nodes/")),
    PageCase("nodes-deploy", at("/nodes/deploy/")),
    PageCase("nodes-drain", lambda sample: f"/nodes/act/drain/?id={sample.nodes['reports']}&id={sample.nodes['mail']}"),
    PageCase("nodes-host", at("/nodes/hosts/zen-02/")),
    PageCase("nodes-host-forget", at("/nodes/hosts/zen-03/forget/")),
    PageCase("node", lambda sample: f"/nodes/{sample.nodes['reports']}/"),
    PageCase("node-failed", lambda sample: f"/nodes/{sample.nodes['reports-4']}/"),
    PageCase("node-waiting", lambda sample: f"/nodes/{sample.nodes['vision']}/"),
    PageCase("node-log", lambda sample: f"/nodes/{sample.nodes['reports']}/log/?q=error"),
    PageCase("group", lambda sample: f"/nodes/groups/{sample.groups['reports']}/"),
    PageCase("group-autoscale", lambda sample: f"/nodes/groups/{sample.groups['reports']}/autoscale/"),
    PageCase("inventory", at("/inventory/")),
    PageCase("inventory-images", at("/inventory/?kind=image")),
    PageCase("inventory-filtered", at("/inventory/?q=nothing")),
    PageCase("network", at("/network/")),
    PageCase("network-filtered", at("/network/?host=nothing")),
    PageCase("notifications", at("/notifications/")),
    PageCase("notifications-empty", at("/notifications/?kind=stream-lag")),
    PageCase("rules", at("/notifications/rules/")),
    PageCase("rule", lambda sample: f"/notifications/rules/{sample.rule}/"),
    PageCase("rule-new", at("/notifications/rules/new/?about=failure-share")),
    PageCase("channels", at("/notifications/channels/")),
    PageCase("channel-new", at("/notifications/channels/new/?kind=webhook")),
    PageCase("settings", at("/settings/")),
    PageCase("users", at("/settings/users/")),
    PageCase("user", lambda sample: f"/settings/users/{sample.user}/"),
    PageCase("user-new", at("/settings/users/new/")),
    PageCase("configuration", at("/settings/configuration/")),
    PageCase("configuration-filtered", at("/settings/configuration/?q=nothing+like+this")),
    PageCase("audit", at("/settings/audit/")),
    PageCase("settings-token", at("/settings/tokens/")),
    PageCase("building-blocks", at("/gallery/")),
    PageCase("building-blocks-filtered", at("/gallery/?q=nothing")),
    PageCase("confirm", lambda sample: f"/gallery/confirm/?id={sample.task(Status.QUEUED)}"),
    PageCase("not-found", at("/nowhere/"), status=404, framed=False),
    PageCase("broken", at("/broken/"), status=500, framed=False),
]
#: Pictures for docs/, made by tools/screenshots.py --docs.
IN_DOCS = [
    Picture("overview"),
    Picture("overview", theme="light"),
    Picture("overview", width=390),
    Picture("task-failed"),
    Picture("dead-letters"),
    Picture("analytics", theme="light"),
    Picture("nodes"),
]
