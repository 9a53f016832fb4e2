"""The pages of channels: administrators make them, test them and remove them. No page shows an address."""

from typing import Any, Final
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, resolve_url
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from zenith_site.common.callers import ADMINISTER, Shows, audit_details, authorize
from zenith_site.common.errors import InvalidInputError, StateConflictError
from zenith_site.common.forms import add_problems
from zenith_site.common.pages import answer, confirm, render_page
from zenith_site.notify import outbox
from zenith_site.notify.channel_changes import ChannelRequest, remove_channel, rules_with, save_channel
from zenith_site.notify.destinations import ADDRESSES, all_channels
from zenith_site.notify.kinds import Channel, Severity
from zenith_site.notify.models import Delivery, NotificationChannel, NotificationRule, Step
from zenith_site.notify.rule_page import section_context

LIST: Final = "notifications/_channels.html"
FORM: Final = "notifications/_channel_form.html"
_ADDRESSES: Final = {
    Channel.EMAIL: ("Addresses", "Such as ops@example.com, with commas in between. The mail server is that of EMAIL_HOST."),
    Channel.SLACK: ("URL of the incoming webhook", "Of Slack, Mattermost, Rocket.Chat or Zulip."),
    Channel.WEBHOOK: ("URL", "It gets signed JSON: docs/notifications.md has the form."),
}
_HIDDEN: Final = "It is encrypted, and never shown again."


def _secret_input() -> forms.PasswordInput:
    return forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password", "spellcheck": "false"})


class ChannelForm(forms.Form):
    """A channel of one kind. Its address is never given back to the browser."""

    name = forms.CharField(label="Name", max_length=60, help_text="What rules call it.")
    address = forms.CharField(max_length=6000, widget=_secret_input())
    secret = forms.CharField(
        label="Secret", max_length=500, widget=_secret_input(), help_text=f"Signs its messages: 16 characters or more. {_HIDDEN}"
    )
    least = forms.ChoiceField(
        label="It gets", required=False,
        choices=[
            ("", "only what rules send to it"), (Severity.INFO.value, "all notifications"),
            (Severity.WARNING.value, "warnings and critical ones"), (Severity.CRITICAL.value, "critical ones"),
        ],
        help_text="Of those that Zenith opens by itself. Rules say where theirs go.",
    )  # fmt: skip

    def __init__(self, data: Any, kind: Channel, row: NotificationChannel | None = None) -> None:
        super().__init__(data, initial={"name": row.name, "least": row.least} if row else None)
        address = self.fields["address"]
        address.label, help_text = _ADDRESSES[kind]
        address.help_text = f"{'Leave empty to keep the stored one. ' if row else ''}{help_text} {_HIDDEN}"
        address.required = row is None
        if kind is Channel.EMAIL:
            address.widget = forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"})
        self.fields["secret"].required = row is None
        if kind is not Channel.WEBHOOK:
            del self.fields["secret"]


@require_safe
def channels(request: HttpRequest) -> HttpResponse:
    """Show all channels, with what became of their last test."""
    caller = authorize(request, ADMINISTER, Shows.EVERYTHING)
    tests = {test.channel: test for test in Delivery.objects.filter(step=Step.TEST).order_by("id")[:1000]}
    used = [key for keys in NotificationRule.objects.values_list("channels", flat=True)[:1000] for key in keys]
    context = {
        "channels": [
            {"channel": channel, "test": tests.get(channel.key), "rules": used.count(channel.key),
             "variable": ADDRESSES[channel.kind]}
            for channel in all_channels()
        ],
        "kinds": list(Channel),
        **section_context(caller),
    }  # fmt: skip
    return render_page(request, "notifications/channels.html", context, fragments=[LIST])


@sensitive_post_parameters("address", "secret")
@require_http_methods(["GET", "HEAD", "POST"])
def new_channel(request: HttpRequest) -> HttpResponse:
    """Show the form for a channel of the kind that `?kind=` says (GET), and make it (POST)."""
    authorize(request, ADMINISTER, Shows.EVERYTHING)
    kind = request.GET.get("kind", "")
    return _form(request, Channel(kind) if kind in list(Channel) else Channel.SLACK, None)


@sensitive_post_parameters("address", "secret")
@require_http_methods(["GET", "HEAD", "POST"])
def channel(request: HttpRequest, channel_id: UUID) -> HttpResponse:
    """Show a channel without its address (GET), and change it (POST)."""
    authorize(request, ADMINISTER, Shows.EVERYTHING)
    row = get_object_or_404(NotificationChannel, pk=channel_id)
    return _form(request, Channel(row.kind), row)


@require_http_methods(["GET", "HEAD", "POST"])
def remove(request: HttpRequest, channel_id: UUID) -> HttpResponse:
    """Ask before a channel is removed (GET), and remove it (POST)."""
    authorize(request, ADMINISTER, Shows.EVERYTHING)
    row = get_object_or_404(NotificationChannel, pk=channel_id)
    if request.method == "POST":
        audit_details(request, channel=row.name, kind=row.kind)
        remove_channel(row)
        messages.success(request, f"{row.name} was removed.")
        return answer(request, "notification_channels", leave=True)
    count = len(rules_with(row.key))
    rules = "No rule sends to it." if not count else "1 rule sends to it." if count == 1 else f"{count} rules send to it."
    return confirm(
        request, title="Remove channel?", sentence=f"{row.name} sends nothing any more, and its address is forgotten. {rules}",
        action=reverse("remove_notification_channel", args=[row.pk]), button="Remove channel", back="notification_channels",
    )  # fmt: skip


@require_POST
def test(request: HttpRequest, key: str) -> HttpResponse:
    """Have an engine send a test message through a channel, also one of the environment."""
    authorize(request, ADMINISTER, Shows.EVERYTHING)
    found = next((channel for channel in all_channels() if channel.key == key), None)
    if found is None:
        raise Http404(f"There is no channel {key[:50]!r}.")
    audit_details(request, channel=found.name, tested=key)
    if outbox.request_test([key]):
        messages.success(request, f"A test goes out through {found.name}. This page says what becomes of it.")
    else:
        messages.warning(request, f"A test through {found.name} still waits for an engine.")
    return answer(request, "notification_channels")


def _form(request: HttpRequest, kind: Channel, row: NotificationChannel | None) -> HttpResponse:
    form = ChannelForm(request.POST if request.method == "POST" else None, kind, row)
    if form.is_bound and form.is_valid() and (response := _saved(request, form, kind, row)):
        return response
    address = resolve_url("notification_channel", row.pk) if row else f"{resolve_url('new_notification_channel')}?kind={kind}"
    context = {"form": form, "kind": kind, "row": row, "kinds": list(Channel), "address": address}
    return render_page(request, "notifications/channel.html", context, fragments=[FORM], status=422 if form.errors else 200)


def _saved(request: HttpRequest, form: ChannelForm, kind: Channel, row: NotificationChannel | None) -> HttpResponse | None:
    """Save the channel and return where to; None if it could not be saved, which the form then says."""
    caller = authorize(request, ADMINISTER, Shows.EVERYTHING)
    data = form.cleaned_data
    body = ChannelRequest(
        name=data["name"], kind=kind, address=data["address"], secret=data.get("secret", ""), least=data["least"]
    )
    try:
        saved = save_channel(caller, body, row)
    except InvalidInputError as error:
        add_problems(form, error)
        return None
    except StateConflictError as error:
        form.add_error(None, str(error))
        return None
    audit_details(request, channel=saved.name, kind=saved.kind, gets=saved.least or "rules", new_address=bool(data["address"]))
    messages.success(request, f"{saved.name} is saved. Test it before something relies on it.")
    return answer(request, "notification_channels", leave=True)
