"""What people say of a host: whether it takes new nodes, where it is, and its labels."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from infra_app import hosts
from infra_app.hosts import HostChanges
from infra_app.models import Host
from infra_app.web.forms import HostForm
from zenith_site.common.callers import INFRA, caller_of, note
from zenith_site.common.errors import InvalidInputError
from zenith_site.common.forms import add_problems
from zenith_site.common.pages import answer, ask


@require_http_methods(["GET", "HEAD", "POST"])
def change(request: HttpRequest, name: str) -> HttpResponse:
    """Ask what to change of a host (GET), and change it (POST)."""
    caller_of(request, INFRA)
    host = get_object_or_404(Host, name=name)
    now = {"cordoned": host.cordoned, "region": host.region, "labels": host.labels}
    form = HostForm(request.POST if request.method == "POST" else None, initial=now)
    if request.method == "POST" and form.is_valid():
        try:
            hosts.change(host, HostChanges(**form.cleaned_data))
        except InvalidInputError as error:
            add_problems(form, error)
        else:
            note(request, host=name, **form.cleaned_data)
            messages.success(request, f"{name} is changed.")
            return answer(request, "infra:nodes")
    return ask(
        request, form, title=f"Host {name}", button="Save", action=reverse("infra:host", args=[name]), back="infra:nodes",
        sentence="Where its nodes run now does not change. Drain them to have it empty.",
    )  # fmt: skip
