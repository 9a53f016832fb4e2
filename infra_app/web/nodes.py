"""The Nodes page: hosts, groups and nodes; deployments, and actions on nodes after a confirmation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from infra_app import nodes, queries
from infra_app.errors import NoHostOnlineError
from infra_app.models import Host, Node
from infra_app.queries import COLOURS, NodeRow
from infra_app.states import ACTIONS, NodeStatus
from infra_app.validation import allowed_images
from infra_app.web.forms import DeployForm
from zenith_site.common.callers import INFRA, VIEW, audit_details, authorize
from zenith_site.common.downloads import download, requested_format
from zenith_site.common.errors import InvalidInputError, StateConflictError
from zenith_site.common.forms import add_problems
from zenith_site.common.pages import answer, confirm, render_page

MOST: Final = 500
COLUMNS: Final[list[tuple[str, Callable[[NodeRow], Any]]]] = [
    ("id", lambda row: row.node.id),
    ("name", lambda row: row.node.name),
    ("group", lambda row: row.node.group.name),
    ("host", lambda row: row.node.host.name if row.node.host else None),
    ("desired", lambda row: row.node.desired),
    ("status", lambda row: row.status),
    ("reason", lambda row: row.sentence),
    ("image", lambda row: row.node.group.image),
    ("queues", lambda row: row.node.group.queues),
    ("cpu_percent", lambda row: row.node.cpu_percent),
    ("memory_bytes", lambda row: row.node.memory_bytes),
    ("restarts", lambda row: row.node.restarts),
    ("uptime_seconds", lambda row: row.uptime),
]


@require_safe
def node_list(request: HttpRequest) -> HttpResponseBase:
    """All hosts, and all nodes by group."""
    authorize(request, VIEW)
    present, status = queries.present_nodes(), _requested_status(request)
    listed = queries.removed_nodes() if status is NodeStatus.REMOVED else present
    rows = queries.node_rows(node for node in listed if status is None or node.shown_status is status)
    if kind := requested_format(request):
        return download(kind, "nodes", COLUMNS, rows)
    hosts = queries.host_rows()
    context = {
        "hosts": hosts,
        "online": sum(row.host.online for row in hosts),
        "groups": queries.group_rows(rows, with_empty=status is None),
        "count": len(present),
        "ready": sum(node.shown_status is NodeStatus.READY for node in present),
        "tabs": _tabs(present, status),
        "filtered": status is not None,
        "verbs": VERBS,
    }
    return render_page(request, "nodes/nodes.html", context, fragments=["nodes/_hosts.html", "nodes/_nodes.html"])


@require_http_methods(["GET", "HEAD", "POST"])
def deploy(request: HttpRequest) -> HttpResponse:
    """Show the form (GET), and deploy (POST)."""
    caller = authorize(request, INFRA)
    form = DeployForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            group = nodes.deploy(form.to_deployment(), caller.name)
        except InvalidInputError as error:
            add_problems(form, error)
        except (StateConflictError, NoHostOnlineError) as error:
            form.add_error(None, str(error))
        else:
            audit_details(request, group=group.name, replicas=group.replicas, image=group.image)
            messages.success(request, f"Deploying {group.name}: {_several(group.replicas)}.")
            return answer(request, "infra:nodes", leave=True)
    context = {"form": form, "images": allowed_images(), "hosts": Host.objects.exists()}
    status = 422 if form.is_bound else 200
    return render_page(request, "nodes/deploy.html", context, fragments=["nodes/_deploy.html"], status=status)


@dataclass(frozen=True)
class Verb:
    """An action on nodes; `sentence` explains what it does to the selected nodes."""

    label: str
    icon: str
    sentence: str
    danger: bool = True


VERBS: Final = {
    "drain": Verb("Drain", "player-pause", "The workers of {} accept no new tasks, finish the tasks they have, and stop."),
    "stop": Verb("Stop", "player-stop", "The containers of {} are stopped. Running tasks return to their queue."),
    "start": Verb("Start", "player-play", "The containers of {} are started.", danger=False),
    "restart": Verb("Restart", "refresh", "The containers of {} are replaced. Running tasks return to their queue."),
    "remove": Verb("Remove", "trash", "The containers and nodes of {} are removed. Running tasks return to their queue."),
}


@require_http_methods(["GET", "HEAD", "POST"])
def act(request: HttpRequest, verb: str) -> HttpResponse:
    """Ask for confirmation of an action on nodes (GET), and apply it (POST)."""
    caller = authorize(request, INFRA)
    action = VERBS.get(verb)
    if action is None:
        raise Http404(f"There is no action {verb[:50]!r}.")
    ids = _selected_ids(request)
    if request.method == "POST":
        outcome = nodes.act(verb, ids, caller.name)
        audit_details(request, verb=verb, nodes=len(outcome.done))
        if outcome.done:
            messages.success(request, f"{action.label} requested for {_several(len(outcome.done))}.")
        for refused in outcome.refused[:3]:
            messages.warning(request, refused.reason)
        return answer(request, "infra:nodes")
    allowing = [desired for desired, actions in ACTIONS.items() if verb in actions]
    names = list(Node.objects.filter(id__in=ids, desired__in=allowing).order_by("name").values_list("name", flat=True))
    if not names:
        messages.warning(request, f"{action.label} is not possible for any of the selected nodes.")
        return answer(request, "infra:nodes")
    label = names[0] if len(names) == 1 else _several(len(names))
    return confirm(
        request, title=f"{action.label} {label}?", sentence=action.sentence.format(label),
        action=reverse("infra:act", args=[verb]), button=f"{action.label} {label}", back="infra:nodes",
        fields=[("id", id_) for id_ in ids], danger=action.danger,
    )  # fmt: skip


def _requested_status(request: HttpRequest) -> NodeStatus | None:
    try:
        return NodeStatus(request.GET.get("status", ""))
    except ValueError:
        return None


def _selected_ids(request: HttpRequest) -> list[UUID]:
    sent = request.POST if request.method == "POST" else request.GET
    ids = []
    for text in sent.getlist("id")[:MOST]:
        try:
            ids.append(UUID(text))
        except ValueError:
            raise Http404(f"{text[:100]!r} is not the id of a node.") from None
    return list(dict.fromkeys(ids))


def _tabs(present: list[Node], current: NodeStatus | None) -> list[dict[str, Any]]:
    counts = {status: sum(node.shown_status is status for node in present) for status in NodeStatus}
    tabs = [{"label": "All", "url": "?", "count": len(present), "current": current is None, "colour": ""}]
    tabs += [
        {
            "label": status.label, "url": f"?status={status.value}", "count": counts[status], "current": current is status,
            "colour": COLOURS[status],
        }
        for status in NodeStatus
        if counts[status] or current is status
    ]  # fmt: skip
    if current is not NodeStatus.REMOVED:
        tabs.append({"label": "Removed", "url": "?status=REMOVED", "count": None, "current": False, "colour": ""})
    return tabs


def _several(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
