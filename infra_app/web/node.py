"""One node: where it is and why, what it used, its tasks, its events, and its log as it comes."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import redis
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.http import require_safe

from infra_app import log_stream, logs, work
from infra_app.log_stream import MAX_LINES, Entry
from infra_app.logs import Lines
from infra_app.masked_environment import environment_of, left_out
from infra_app.models import Node
from infra_app.queries import NodeRow
from infra_app.web.drawings import Trace, rates, trace
from zenith_site.common.callers import VIEW, authorize
from zenith_site.common.humanize import size
from zenith_site.common.pages import render_page

TASKS: Final = 15
EVENTS: Final = 30
SAMPLES: Final = 240
HISTORY: Final = timedelta(hours=1)
#: Lines of one page or one piece, and of one block of the page.
LINES: Final = 1000
BLOCK: Final = 100
_MB: Final = 1 << 20
_LEVELS: Final = re.compile(r"\b(CRITICAL|FATAL|ERROR|EXCEPTION|WARNING|WARN|INFO|DEBUG|TRACE)\b|^\s*(Traceback) ")
_LEVEL_OF: Final = {
    "CRITICAL": "error", "FATAL": "error", "ERROR": "error", "EXCEPTION": "error", "Traceback": "error",
    "WARNING": "warning", "WARN": "warning", "INFO": "info", "DEBUG": "debug", "TRACE": "debug",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ShownLine:
    """A line of a log as it is shown."""

    entry: Entry
    level: str

    @property
    def time(self) -> str:
        """The time of day, of Docker's time."""
        return self.entry.at[11:19]


@require_safe
def node(request: HttpRequest, node_id: UUID) -> HttpResponse:
    """One node."""
    authorize(request, VIEW)
    found = _node(node_id)
    context = {
        "row": NodeRow(found, []),
        "node": found,
        "group": found.group,
        "environment": environment_of(found.group),
        "left_out": left_out(found.group),
        "secrets": sorted(found.group.secrets),
        "traces": _traces(found),
        "tasks": work.tasks_of(found.worker, TASKS),
        "events": found.events.all()[:EVENTS],
        "topic": log_stream.topic(found.id),
    }
    fragments = ["nodes/_node_head.html", "nodes/_node_side.html", "nodes/_node_work.html"]
    return render_page(request, "nodes/node.html", {**context, **_log(found, request)}, fragments=fragments)


@require_safe
def log(request: HttpRequest, node_id: UUID) -> HttpResponse:
    """A node's log: as a page, as a text file, or the lines after an id for the page that is open."""
    authorize(request, VIEW)
    found = _node(node_id)
    if request.GET.get("format") == "text":
        return _file(found)
    if "after" in request.GET:
        return _piece(found, request.GET["after"])
    context = {"node": found, "topic": log_stream.topic(found.id), **_log(found, request)}
    return render_page(request, "nodes/log.html", context, fragments=["nodes/_log.html"])


def _node(node_id: UUID) -> Node:
    found = Node.objects.select_related("group", "host").filter(pk=node_id).first()
    if found is None:
        raise Http404("There is no such node.")
    return found


def _log(found: Node, request: HttpRequest) -> dict[str, Any]:
    """Return what the log's card shows; a Redis that is away is said, and hides nothing else of the node."""
    search = request.GET.get("q", "")[:200]
    try:
        lines = logs.read(found, limit=LINES)
    except redis.RedisError:
        return {"log_away": True, "blocks": [], "search": search}
    entries = [entry for entry in lines.entries if search.lower() in entry.text.lower()]
    return {
        "blocks": _blocks(entries), "after": lines.after, "kept": lines.kept, "search": search,
        "written": bool(lines.entries), "ended": found.status in logs.ENDED,
    }  # fmt: skip


def _piece(found: Node, after: str) -> HttpResponse:
    """Return the lines after an id, as blocks to append; the field `X-Log-After` says where to go on."""
    try:
        lines = logs.read(found, after, LINES)
    except ValueError:
        raise Http404("There is no such line.") from None
    if lines.kept:
        lines = Lines([], "", kept=True)
    response = HttpResponse(render_to_string("nodes/_log_blocks.html", {"blocks": _blocks(lines.entries)}))
    response["X-Log-After"] = lines.after
    return response


def _file(found: Node) -> HttpResponse:
    entries = logs.read(found, limit=MAX_LINES).entries
    text = "".join(f"{entry.at} {entry.text}\n" if entry.at else f"{entry.text}\n" for entry in entries)
    response = HttpResponse(text, content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{found.name}.log"'
    return response


def _blocks(entries: list[Entry]) -> list[list[ShownLine]]:
    shown = [ShownLine(entry, _level(entry)) for entry in entries]
    return [shown[start : start + BLOCK] for start in range(0, len(shown), BLOCK)]


def _level(entry: Entry) -> str:
    found = _LEVELS.search(entry.text[:200])
    return _LEVEL_OF[found[1] or found[2]] if found else ""


def _traces(found: Node) -> list[Trace]:
    """Return the last hour of CPU, memory and network, as far as anything is known."""
    since = timezone.now() - HISTORY
    samples = list(found.samples.filter(at__gte=since).order_by("-at")[:SAMPLES])[::-1]
    cpu = [(sample.at, sample.cpu_percent) for sample in samples]
    memory = [(sample.at, float(sample.memory_bytes)) for sample in samples]
    network = rates([(sample.at, float(sample.network_rx_bytes + sample.network_tx_bytes)) for sample in samples])
    drawn = (
        trace("CPU", cpu, lambda value: f"{value:.0f} %", full=100 * found.group.cpus),
        trace("Memory", memory, lambda value: size(int(value)), full=float(found.group.memory_mb * _MB)),
        trace("Network", network, lambda value: f"{size(int(value))}/s"),
    )
    return [one for one in drawn if one]
