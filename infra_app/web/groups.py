"""One group's page: what its nodes run, how many there are, and how their number follows a queue."""

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

#: The image and what else can be changed after the deploy.
RUNS = ("image", "queues", "concurrency", "memory_mb", "cpus")
RULES = tuple(AutoscaleLimits.__dataclass_fields__)


@require_safe
def group(request: HttpRequest, group_id: UUID) -> HttpResponse:
    """A group, its nodes, and what the autoscaler makes of its queue."""
    authorize(request, VIEW)
    found = NodeGroup.objects.select_related("host").filter(pk=group_id).first()
    if found is None:
        raise Http404("There is no such group.")
    members = found.nodes.exclude(status=NodeStatus.REMOVED).select_related("group", "host").order_by("created_at", "id")
    context = {
        "group": found,
        "rows": queries.node_rows(members),
        "pressure": _pressure(found),
        "environment": environment_of(found),
        "left_out": left_out(found),
        "secrets": sorted(found.secrets),
    }
    return render_page(request, "nodes/group.html", context, fragments=["nodes/_group.html"])


@require_http_methods(["GET", "HEAD", "POST"])
def scale(request: HttpRequest, group_id: UUID) -> HttpResponse:
    """Ask how many nodes (GET), and scale (POST)."""
    caller = authorize(request, INFRA)
    found = _present(group_id)
    form = ScaleForm(request.POST if request.method == "POST" else None, initial={"replicas": found.replicas})

    def act() -> str:
        scaled = nodes.scale(group_id, form.cleaned_data["replicas"], caller.name)
        audit_details(request, group=found.name, before=scaled.before, replicas=scaled.group.replicas)
        leaving = f" {len(scaled.leaving)} are drained first." if scaled.leaving else ""
        return f"{found.name}: {scaled.before} → {scaled.group.replicas} nodes.{leaving}"

    sentence = "More are placed where there is room. With fewer, the idlest are drained, and removed once they are."
    return _asked(request, form, act, found, title=f"Scale {found.name}", button="Scale", url="infra:scale", sentence=sentence)


@require_http_methods(["GET", "HEAD", "POST"])
def change(request: HttpRequest, group_id: UUID) -> HttpResponse:
    """Ask what the nodes shall run (GET), and have their containers replaced (POST)."""
    caller = authorize(request, INFRA)
    found = _present(group_id)
    now = {name: getattr(found, name) for name in RUNS}
    form = RunsForm(request.POST if request.method == "POST" else None, initial=now)

    def act() -> str:
        changes = {name: form.cleaned_data[name] for name in form.changed_data}
        if not changes:
            return "Nothing was changed."
        nodes.change(group_id, caller.name, **changes)
        audit_details(request, group=found.name, changed=sorted(changes))
        return f"{found.name} is changed; its containers are replaced."

    several = found.nodes.filter(desired=Desired.RUNNING).count()
    sentence = f"The containers of {several} running nodes are replaced at once; what they run is handed back to its queue."
    return _asked(request, form, act, found, title=f"Change {found.name}", button="Change", url="infra:change", sentence=sentence)


@require_http_methods(["GET", "HEAD", "POST"])
def autoscale(request: HttpRequest, group_id: UUID) -> HttpResponse:
    """Ask for the rules (GET), and have the group follow its queue by them (POST)."""
    authorize(request, INFRA)
    found = _present(group_id)
    now = {name: getattr(found, name) for name in RULES}
    form = AutoscaleForm(request.POST if request.method == "POST" else None, initial={**now, "autoscale": True})

    def act() -> str:
        autoscaler.configure(group_id, AutoscaleLimits(**form.cleaned_data))
        audit_details(request, group=found.name, **form.cleaned_data)
        return f"{found.name} follows its queue." if form.cleaned_data["autoscale"] else f"{found.name} stays as large as it is."

    sentence = "Every few seconds it is decided how many nodes there should be; the group's page says what, and why."
    return _asked(
        request, form, act, found, title=f"Autoscale {found.name}", button="Save", url="infra:autoscale", sentence=sentence
    )


@require_http_methods(["GET", "HEAD", "POST"])
def remove(request: HttpRequest, group_id: UUID) -> HttpResponse:
    """Ask, naming the count (GET), and remove a group with its nodes (POST)."""
    caller = authorize(request, INFRA)
    found = _present(group_id)
    if request.method == "POST":
        removed = nodes.remove_group(group_id, caller.name)
        audit_details(request, group=found.name, nodes=len(removed))
        messages.success(request, f"{found.name} is removed with {len(removed)} nodes.")
        return answer(request, "infra:nodes", leave=True)
    count = found.nodes.exclude(desired=Desired.REMOVED).count()
    several = "1 node" if count == 1 else f"{count} nodes"
    return confirm(
        request, title=f"Remove {found.name}?", action=reverse("infra:remove_group", args=[group_id]), back="infra:nodes",
        sentence=f"The containers of {several} are removed. What runs on them is handed back to its queue.",
        button=f"Remove {several}",
    )  # fmt: skip


def _asked(
    request: HttpRequest, form: forms.Form, act: Callable[[], str], found: NodeGroup, *, url: str, **words: Any
) -> HttpResponse:
    """Answer a form of a group: ask, or act and say what was done."""
    page = reverse("infra:group", args=[found.id])
    if request.method == "POST" and form.is_valid():
        try:
            messages.success(request, act())
        except InvalidInputError as error:
            add_problems(form, error)
        else:
            return answer(request, page)
    return ask(request, form, action=reverse(url, args=[found.id]), back=page, **words)


def _present(group_id: UUID) -> NodeGroup:
    found = NodeGroup.objects.filter(pk=group_id, removed_at=None).first()
    if found is None:
        raise Http404("There is no such group, or it was removed.")
    return found


def _pressure(found: NodeGroup) -> QueuePressure | None:
    """Return how the queue stands that it follows; None where Redis does not say."""
    try:
        return work.pressure(found.scale_queue or found.queues[0])
    except redis.RedisError:
        return None
