"""Actions on a host: cordon it, set its region and labels, forget it."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from infra_app import forgetting, hosts
from infra_app.forgetting import ForgetOutcome
from infra_app.hosts import HostChanges
from infra_app.models import Host
from infra_app.web.forms import HostForm
from zenith_site.common.callers import INFRA, audit_details, authorize
from zenith_site.common.errors import InvalidInputError, StateConflictError
from zenith_site.common.forms import add_problems
from zenith_site.common.pages import answer, ask, confirm


@require_http_methods(["GET", "HEAD", "POST"])
def change(request: HttpRequest, name: str) -> HttpResponse:
    """Ask what to change on a host (GET), and change it (POST)."""
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
            messages.success(request, f"Host {name} was changed.")
            return answer(request, "infra:nodes")
    return ask(
        request, form, title=f"Host {name}", button="Save", action=reverse("infra:host", args=[name]), back="infra:nodes",
        sentence="Existing nodes stay on this host. To empty it, drain them.",
    )  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
def forget(request: HttpRequest, name: str) -> HttpResponse:
    """Ask for confirmation (GET), and forget a host that does not come back (POST)."""
    caller = authorize(request, INFRA)
    host = get_object_or_404(Host, name=name)
    try:
        outcome = forgetting.forget(host, caller.name) if request.method == "POST" else forgetting.preview(host)
    except StateConflictError as error:
        messages.error(request, str(error))
        return answer(request, "infra:nodes", leave=True)
    if request.method == "POST":
        audit_details(request, host=name, nodes=len(outcome.removed), replaced=outcome.replaced)
        messages.success(request, f"Host {name} was forgotten. {_meaning(outcome)}")
        return answer(request, "infra:nodes", leave=True)
    return confirm(
        request, title=f"Forget host {name}?", action=reverse("infra:forget_host", args=[name]), back="infra:nodes",
        sentence=f"{_meaning(outcome)} If the host comes back, it is listed again, and its old containers are removed.",
        button=f"Forget it and {_several(len(outcome.removed))}" if outcome.removed else "Forget it",
    )  # fmt: skip


def _meaning(outcome: ForgetOutcome) -> str:
    """Describe what happens to the host's nodes."""
    match len(outcome.removed), outcome.replaced:
        case 0, _:
            return "It has no nodes."
        case 1, replaced:
            return (
                f"Its node counts as removed; {'a replacement is' if replaced else 'no replacements are'} created on other hosts."
            )
        case removed, replaced:
            replacements = {0: "no replacements are", 1: "1 replacement is"}.get(replaced, f"{replaced} replacements are")
            return f"Its {removed} nodes count as removed; {replacements} created on other hosts."


def _several(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
