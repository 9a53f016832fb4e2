"""What people say of a host: whether it takes new nodes, where it is, its labels, and that it does not come back."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from infra_app import forgetting, hosts
from infra_app.forgetting import Loss
from infra_app.hosts import HostChanges
from infra_app.models import Host
from infra_app.web.forms import HostForm
from zenith_site.common.callers import INFRA, audit_details, authorize
from zenith_site.common.errors import InvalidInputError, StateConflictError
from zenith_site.common.forms import add_problems
from zenith_site.common.pages import answer, ask, confirm


@require_http_methods(["GET", "HEAD", "POST"])
def change(request: HttpRequest, name: str) -> HttpResponse:
    """Ask what to change of a host (GET), and change it (POST)."""
    authorize(request, INFRA)
    host = get_object_or_404(Host, name=name)
    now = {"cordoned": host.cordoned, "region": host.region, "labels": host.labels}
    form = HostForm(request.POST if request.method == "POST" else None, initial=now)
    if request.method == "POST" and form.is_valid():
        try:
            hosts.change(host, HostChanges(**form.cleaned_data))
        except InvalidInputError as error:
            add_problems(form, error)
        else:
            audit_details(request, host=name, **form.cleaned_data)
            messages.success(request, f"{name} is changed.")
            return answer(request, "infra:nodes")
    return ask(
        request, form, title=f"Host {name}", button="Save", action=reverse("infra:host", args=[name]), back="infra:nodes",
        sentence="Where its nodes run now does not change. Drain them to have it empty.",
    )  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
def forget(request: HttpRequest, name: str) -> HttpResponse:
    """Ask, naming the counts (GET), and forget a host that does not come back (POST)."""
    caller = authorize(request, INFRA)
    host = get_object_or_404(Host, name=name)
    try:
        loss = forgetting.forget(host, caller.name) if request.method == "POST" else forgetting.preview(host)
    except StateConflictError as error:
        messages.error(request, str(error))
        return answer(request, "infra:nodes", leave=True)
    if request.method == "POST":
        audit_details(request, host=name, nodes=len(loss.removed), replaced=loss.replaced)
        messages.success(request, f"{name} is forgotten. {_meaning(loss)}")
        return answer(request, "infra:nodes", leave=True)
    return confirm(
        request, title=f"Forget host {name}?", action=reverse("infra:forget_host", args=[name]), back="infra:nodes",
        sentence=f"{_meaning(loss)} Should it come back after all, it is known again, and what still runs there is removed.",
        button=f"Forget it and {_several(len(loss.removed))}" if loss.removed else "Forget it",
    )  # fmt: skip


def _meaning(loss: Loss) -> str:
    """Say what becomes of its nodes."""
    match len(loss.removed), loss.replaced:
        case 0, _:
            return "It has no nodes."
        case 1, made:
            return f"Its node counts as removed; {'another is made' if made else 'none is needed'} elsewhere."
        case gone, made:
            instead = {0: "none is needed", 1: "1 is made"}.get(made, f"{made} are made")
            return f"Its {gone} nodes count as removed; {instead} elsewhere."


def _several(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
