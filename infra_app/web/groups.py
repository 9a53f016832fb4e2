"""A group's page and actions: scale, change, autoscale, remove."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import redis
from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from infra_app import autoscaler, nodes, queries, work
from infra_app.autoscaler import AutoscaleLimits
from infra_app.masked_environment import environment_of, left_out
from infra_app.models import NodeGroup
from infra_app.states import Desired, NodeStatus
from infra_app.web.forms import AutoscaleForm, RunsForm, ScaleForm
from infra_app.work import QueuePressure
from zenith_site.common.callers import INFRA, VIEW, audit_details, authorize
from zenith_site.common.errors import InvalidInputError
from zenith_site.common.forms import add_problems
from zenith_site.common.pages import answer, ask, confirm, render_page

#: What can be changed after the deployment.
RUNS = ("image", "queues", "concurrency", "memory_mb", "cpus")
RULES = tuple(AutoscaleLimits.__dataclass_fields__)


@require_safe
def group(request: HttpRequest, group_id: UUID) -> HttpResponse:
    """A group, its nodes, and the autoscaler's latest decision."""
    authorize(request, VIEW)
    node_group = NodeGroup.objects.select_related("host").filter(pk=group_id).first()
    if node_group is None:
        raise Http404("This group does not exist.")
    members = node_group.nodes.exclude(status=NodeStatus.REMOVED).select_related("group", "host").order_by("created_at", "id")
    context = {
        "group": node_group,
        "rows": queries.node_rows(members),
        "pressure": _pressure(node_group),
        "environment": environment_of(node_group),
        "left_out": left_out(node_group),
        "secrets": sorted(node_group.secrets),
    }
    return render_page(request, "nodes/group.html", context, fragments=["nodes/_group.html"])


@require_http_methods(["GET", "HEAD", "POST"])
def scale(request: HttpRequest, group_id: UUID) -> HttpResponse:
    """Ask for the number of nodes (GET), and scale (POST)."""
    caller = authorize(request, INFRA)
    node_group = _active_group(group_id)
    form = ScaleForm(request.POST if request.method == "POST" else None, initial={"replicas": node_group.replicas})

    def act() -> str:
        scaled = nodes.scale(group_id, form.cleaned_data["replicas"], caller.name)
        audit_details(request, group=node_group.name, before=scaled.before, replicas=scaled.group.replicas)
        leaving = f" {len(scaled.leaving)} are drained first." if scaled.leaving else ""
        return f"{node_group.name}: {scaled.before} → {scaled.group.replicas} nodes.{leaving}"

    sentence = "New nodes are placed on hosts that have room. To shrink the group, the idlest nodes are drained and then removed."
    return _respond(
        request, form, act, node_group, title=f"Scale {node_group.name}", button="Scale", url="infra:scale", sentence=sentence
    )


@require_http_methods(["GET", "HEAD", "POST"])
def change(request: HttpRequest, group_id: UUID) -> HttpResponse:
    """Ask what the nodes should run (GET), and replace their containers (POST)."""
    caller = authorize(request, INFRA)
    node_group = _active_group(group_id)
    now = {name: getattr(node_group, name) for name in RUNS}
    form = RunsForm(request.POST if request.method == "POST" else None, initial=now)

    def act() -> str:
        changes = {name: form.cleaned_data[name] for name in form.changed_data}
        if not changes:
            return "Nothing was changed."
        nodes.change(group_id, caller.name, **changes)
        audit_details(request, group=node_group.name, changed=sorted(changes))
        return f"{node_group.name} was changed. Its containers are being replaced."

    running = node_group.nodes.filter(desired=Desired.RUNNING).count()
    several = "1 running node is" if running == 1 else f"{running} running nodes are"
    sentence = f"The containers of {several} replaced at once. Running tasks return to their queue."
    return _respond(
        request, form, act, node_group, title=f"Change {node_group.name}", button="Change", url="infra:change", sentence=sentence
    )


@require_http_methods(["GET", "HEAD", "POST"])
def autoscale(request: HttpRequest, group_id: UUID) -> HttpResponse:
    """Ask for the limits (GET), and turn autoscaling on or off (POST)."""
    authorize(request, INFRA)
    node_group = _active_group(group_id)
    now = {name: getattr(node_group, name) for name in RULES}
    form = AutoscaleForm(request.POST if request.method == "POST" else None, initial={**now, "autoscale": True})

    def act() -> str:
        autoscaler.configure(group_id, AutoscaleLimits(**form.cleaned_data))
        audit_details(request, group=node_group.name, **form.cleaned_data)
        return f"Autoscaling of {node_group.name} is {'on' if form.cleaned_data['autoscale'] else 'off'}."

    sentence = "The autoscaler decides every few seconds how many nodes the group needs. The group's page shows each decision."
    return _respond(
        request,
        form,
        act,
        node_group,
        title=f"Autoscale {node_group.name}",
        button="Save",
        url="infra:autoscale",
        sentence=sentence,
    )


@require_http_methods(["GET", "HEAD", "POST"])
def remove(request: HttpRequest, group_id: UUID) -> HttpResponse:
    """Ask for confirmation (GET), and remove a group and its nodes (POST)."""
    caller = authorize(request, INFRA)
    node_group = _active_group(group_id)
    if request.method == "POST":
        removed = nodes.remove_group(group_id, caller.name)
        audit_details(request, group=node_group.name, nodes=len(removed))
        messages.success(request, f"{node_group.name} and its {len(removed)} nodes are being removed.")
        return answer(request, "infra:nodes", leave=True)
    count = node_group.nodes.exclude(desired=Desired.REMOVED).count()
    several = "1 node" if count == 1 else f"{count} nodes"
    return confirm(
        request, title=f"Remove {node_group.name}?", action=reverse("infra:remove_group", args=[group_id]), back="infra:nodes",
        sentence=f"The group and the containers of {several} are removed. Running tasks return to their queue.",
        button=f"Remove {several}",
    )  # fmt: skip


def _respond(
    request: HttpRequest, form: forms.Form, act: Callable[[], str], node_group: NodeGroup, *, url: str, **words: Any
) -> HttpResponse:
    """Show a group's form, or act on it and report the result."""
    page = reverse("infra:group", args=[node_group.id])
    if request.method == "POST" and form.is_valid():
        try:
            messages.success(request, act())
        except InvalidInputError as error:
            add_problems(form, error)
        else:
            return answer(request, page)
    return ask(request, form, action=reverse(url, args=[node_group.id]), back=page, **words)


def _active_group(group_id: UUID) -> NodeGroup:
    node_group = NodeGroup.objects.filter(pk=group_id, removed_at=None).first()
    if node_group is None:
        raise Http404("This group does not exist, or it was removed.")
    return node_group


def _pressure(node_group: NodeGroup) -> QueuePressure | None:
    """Return how busy the group's queue is; None if Redis is unreachable."""
    try:
        return work.pressure(node_group.scale_queue or node_group.queues[0])
    except redis.RedisError:
        return None
