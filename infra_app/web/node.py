"""A node's page: its status and reason, resource usage, tasks, events and live log."""

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
#: Log lines per response, and per block in the page.
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
    """A log line as templates/_log_blocks.html shows it."""

    entry: Entry
    level: str

    @property
    def moment(self) -> str:
        """Docker's timestamp."""
        return self.entry.at

    @property
    def time(self) -> str:
        """The time of day in it."""
        return self.entry.at[11:19]

    @property
    def text(self) -> str:
        """What was written."""
        return self.entry.text


@require_safe
def node(request: HttpRequest, node_id: UUID) -> HttpResponse:
    """One node."""
    authorize(request, VIEW)
    node = _get_node(node_id)
    context = {
        "row": NodeRow(node, []),
        "node": node,
        "group": node.group,
        "environment": environment_of(node.group),
        "left_out": left_out(node.group),
        "secrets": sorted(node.group.secrets),
        "traces": _traces(node),
        "tasks": work.tasks_of(node.worker, TASKS),
        "events": node.events.all()[:EVENTS],
        "topic": log_stream.topic(node.id),
    }
    fragments = ["nodes/_node_head.html", "nodes/_node_side.html", "nodes/_node_work.html"]
    return render_page(request, "nodes/node.html", {**context, **_log(node, request)}, fragments=fragments)


@require_safe
def log(request: HttpRequest, node_id: UUID) -> HttpResponse:
    """A node's log: as a page, as a text file, or as the lines after an id for an open page."""
    authorize(request, VIEW)
    node = _get_node(node_id)
    if request.GET.get("format") == "text":
        return _file(node)
    if "after" in request.GET:
        return _piece(node, request.GET["after"])
    context = {"node": node, "topic": log_stream.topic(node.id), **_log(node, request)}
    return render_page(request, "nodes/log.html", context, fragments=["nodes/_log.html"])


def _get_node(node_id: UUID) -> Node:
    node = Node.objects.select_related("group", "host").filter(pk=node_id).first()
    if node is None:
        raise Http404("This node does not exist.")
    return node


def _log(node: Node, request: HttpRequest) -> dict[str, Any]:
    """Return the context of the log's card; if Redis is unreachable the card says so, and the rest of the page still works."""
    search = request.GET.get("q", "")[:200]
    try:
        lines = logs.read(node, limit=LINES)
    except redis.RedisError:
        return {"log_away": True, "blocks": [], "search": search}
    entries = [entry for entry in lines.entries if search.lower() in entry.text.lower()]
    return {
        "blocks": _blocks(entries), "after": lines.after, "kept": lines.kept, "search": search,
        "written": bool(lines.entries), "ended": node.status in logs.ENDED,
    }  # fmt: skip


def _piece(node: Node, after: str) -> HttpResponse:
    """Return the lines after an id, as blocks to append; the header `X-Log-After` says where to continue."""
    try:
        lines = logs.read(node, after, LINES)
    except ValueError:
        raise Http404("This line does not exist.") from None
    if lines.kept:
        lines = Lines([], "", kept=True)
    response = HttpResponse(render_to_string("_log_blocks.html", {"blocks": _blocks(lines.entries)}))
    response["X-Log-After"] = lines.after
    return response


def _file(node: Node) -> HttpResponse:
    entries = logs.read(node, limit=MAX_LINES).entries
    text = "".join(f"{entry.at} {entry.text}\n" if entry.at else f"{entry.text}\n" for entry in entries)
    response = HttpResponse(text, content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{node.name}.log"'
    return response


def _blocks(entries: list[Entry]) -> list[list[ShownLine]]:
    shown_lines = [ShownLine(entry, _level(entry)) for entry in entries]
    return [shown_lines[start : start + BLOCK] for start in range(0, len(shown_lines), BLOCK)]


def _level(entry: Entry) -> str:
    match = _LEVELS.search(entry.text[:200])
    return _LEVEL_OF[match[1] or match[2]] if match else ""


def _traces(node: Node) -> list[Trace]:
    """Return the drawings of CPU, memory and network usage in the last hour; those without data are left out."""
    since = timezone.now() - HISTORY
    samples = list(node.samples.filter(at__gte=since).order_by("-at")[:SAMPLES])[::-1]
    cpu = [(sample.at, sample.cpu_percent) for sample in samples]
    memory = [(sample.at, float(sample.memory_bytes)) for sample in samples]
    network = rates([(sample.at, float(sample.network_rx_bytes + sample.network_tx_bytes)) for sample in samples])
    traces = (
        trace("CPU", cpu, lambda value: f"{value:.0f} %", full=100 * node.group.cpus),
        trace("Memory", memory, lambda value: size(int(value)), full=float(node.group.memory_mb * _MB)),
        trace("Network", network, lambda value: f"{size(int(value))}/s"),
    )
    return [drawing for drawing in traces if drawing]
