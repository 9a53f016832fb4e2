"""The pages of notification rules: the list, and the form that makes, previews and changes one."""

from datetime import UTC, datetime
from typing import Any, Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, resolve_url
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from zenith_site.common.application_names import application_names
from zenith_site.common.callers import ADMINISTER, OPERATE, VIEW, Caller, Shows, audit_details, authorize
from zenith_site.common.errors import InvalidInputError, StateConflictError
from zenith_site.common.forms import add_problems
from zenith_site.common.pages import answer, confirm, render_page
from zenith_site.notify import outbox
from zenith_site.notify.destinations import all_channels
from zenith_site.notify.kinds import NotificationKind, Severity, Subject
from zenith_site.notify.models import Notification, NotificationRule
from zenith_site.notify.rule_changes import RuleRequest, mute_rule, possible_owners, remove_rule, save_rule
from zenith_site.notify.rule_decisions import condition, narrowed
from zenith_site.notify.rule_evaluation import MAX_RULES, TooSlowError, preview
from zenith_site.notify.rule_forms import MuteForm, RuleForm

LIST: Final = "notifications/_rules.html"
FORM: Final = "notifications/_rule_form.html"
#: Times that a preview names at most.
_NAMED: Final = 5


@require_safe
def rules(request: HttpRequest) -> HttpResponse:
    """Show all rules, the most severe first."""
    caller = authorize(request, VIEW, Shows.EVERYTHING)
    labels = {channel.key: channel.label for channel in all_channels()}
    rows = NotificationRule.objects.select_related("owner")[:MAX_RULES]
    context = {
        "rules": [
            {"rule": rule, "condition": condition(rule), "narrowed": narrowed(rule), "open": open_,
             "channels": [labels.get(key, "a removed channel") for key in rule.channels]}
            for rule, open_ in _with_open(sorted(rows, key=lambda rule: (-Severity(rule.severity).rank, rule.name.lower())))
        ],
        "subjects": list(Subject),
        **section_context(caller),
    }  # fmt: skip
    return render_page(request, "notifications/rules.html", context, fragments=[LIST])


@require_http_methods(["GET", "HEAD", "POST"])
def new_rule(request: HttpRequest) -> HttpResponse:
    """Show the form for a rule about what `?about=` says (GET); preview it or make it (POST)."""
    caller = authorize(request, OPERATE, Shows.EVERYTHING)
    about = request.GET.get("about", "")
    subject = Subject(about) if about in list(Subject) else Subject.FAILURES
    return _form(request, caller, subject, None)


@require_http_methods(["GET", "HEAD", "POST"])
def rule_page(request: HttpRequest, rule_id: int) -> HttpResponse:
    """Show a rule (GET); preview or save a change (POST)."""
    caller = authorize(request, OPERATE, Shows.EVERYTHING)
    rule = get_object_or_404(NotificationRule.objects.select_related("owner"), pk=rule_id)
    return _form(request, caller, Subject(rule.subject), rule)


@require_POST
def mute(request: HttpRequest, rule_id: int) -> HttpResponse:
    """Mute a rule for the posted `hours`; 0 ends it."""
    authorize(request, OPERATE, Shows.EVERYTHING)
    rule = get_object_or_404(NotificationRule, pk=rule_id)
    form = MuteForm(request.POST)
    if form.is_valid():
        mute_rule(rule, form.until())
        audit_details(request, rule=rule.name, muted_until=rule.muted_until.isoformat() if rule.muted_until else None)
        messages.success(request, f"{rule.name} is muted." if rule.muted_until else f"{rule.name} is not muted any more.")
    else:
        messages.warning(request, "Choose for how long.")
    return answer(request, reverse("notification_rule", args=[rule.pk]), leave=True)


@require_POST
def test(request: HttpRequest, rule_id: int) -> HttpResponse:
    """Send a test message through the channels of a rule."""
    authorize(request, OPERATE, Shows.EVERYTHING)
    rule = get_object_or_404(NotificationRule, pk=rule_id)
    known = {channel.key for channel in all_channels()}
    keys = [key for key in rule.channels if key in known]
    audit_details(request, rule=rule.name, tested=keys)
    if keys:
        sent = outbox.request_test(keys)
        channels = "1 channel" if len(keys) == 1 else f"{len(keys)} channels"
        messages.success(request, f"A test goes out through {channels}. Their page says what became of it.")
        if sent < len(keys):
            messages.warning(request, "Some have a test that still waits, which is not repeated.")
    else:
        messages.warning(request, "This rule sends to no channel.")
    return answer(request, reverse("notification_rule", args=[rule.pk]))


@require_http_methods(["GET", "HEAD", "POST"])
def remove(request: HttpRequest, rule_id: int) -> HttpResponse:
    """Ask before a rule is removed (GET), and remove it (POST)."""
    authorize(request, OPERATE, Shows.EVERYTHING)
    rule = get_object_or_404(NotificationRule, pk=rule_id)
    if request.method == "POST":
        audit_details(request, rule=rule.name)
        remove_rule(rule)
        messages.success(request, f"{rule.name} was removed.")
        return answer(request, "notification_rules", leave=True)
    open_ = dict(_with_open([rule]))[rule]
    ends = f"{open_} open notifications of it end." if open_ != 1 else "1 open notification of it ends."
    ends = ends if open_ else "None of its notifications is open."
    return confirm(
        request, title="Remove rule?", sentence=f"{rule.name} fires no more. {ends}",
        action=reverse("remove_notification_rule", args=[rule.pk]), button="Remove rule",
        back=reverse("notification_rule", args=[rule.pk]),
    )  # fmt: skip


def section_context(caller: Caller) -> dict[str, Any]:
    """Return what the pages of notifications, rules and channels share: what the caller may do."""
    return {"may_operate": caller.may(OPERATE), "may_administer": caller.may(ADMINISTER)}


def _form(request: HttpRequest, caller: Caller, subject: Subject, rule: NotificationRule | None) -> HttpResponse:
    channels = all_channels()
    form = RuleForm(
        request.POST if request.method == "POST" else None, subject, channels=channels, applications=application_names(),
        owners=possible_owners(), rule=rule, initial=_first_values(request, caller),
    )  # fmt: skip
    body = form.request() if form.is_bound else None
    previewed: dict[str, Any] = {}
    if body is not None and "preview" in request.POST:
        audit_details(request, previewed=body.name)
        previewed = _previewed(body.unsaved())
    elif body is not None:
        if response := _saved(request, caller, form, body, rule):
            return response
    elif rule is not None and not form.is_bound:
        previewed = _previewed(rule)
    address = resolve_url("notification_rule", rule.pk) if rule else f"{resolve_url('new_notification_rule')}?about={subject}"
    context = {
        "form": form, "rule": rule, "subject": subject, "subjects": list(Subject), "previewed": previewed,
        "mute_form": MuteForm(initial={"hours": "24"}), "has_channels": bool(channels),
        "address": address, **section_context(caller),
    }  # fmt: skip
    status = 422 if form.errors else 200
    return render_page(request, "notifications/rule.html", context, fragments=[FORM], status=status)


def _saved(
    request: HttpRequest, caller: Caller, form: RuleForm, body: RuleRequest, rule: NotificationRule | None
) -> HttpResponse | None:
    """Save the rule and return where to; None if it could not be saved, which the form then says."""
    try:
        row = save_rule(caller, body, rule)
    except InvalidInputError as error:
        add_problems(form, error)
        return None
    except StateConflictError as error:
        form.add_error(None, str(error))
        return None
    audit_details(request, rule=row.name, id=row.pk, subject=row.subject, severity=row.severity, channels=row.channels)
    messages.success(request, f"{row.name} is saved. An engine checks it within seconds.")
    return answer(request, "notification_rules", leave=True)


def _first_values(request: HttpRequest, caller: Caller) -> dict[str, Any]:
    """Return what a new rule begins with: what the link to the form says, and its maker as the owner."""
    given = {
        name: request.GET[name][:255] for name in ("task", "queue", "error_type", "fingerprint", "worker") if name in request.GET
    }
    return {**given, "owner": caller.user.get_username()}


def _previewed(rule: NotificationRule) -> dict[str, Any]:
    """Return what a preview says: how often the rule would have fired, and the last times."""
    try:
        times = preview(rule)
    except TooSlowError as error:
        return {"problem": str(error)}
    if times is None:
        return {"unknown": True}
    return {"count": len(times), "known": True, "times": [datetime.fromtimestamp(at, tz=UTC) for at in reversed(times[-_NAMED:])]}


def _with_open(rows: list[NotificationRule]) -> list[tuple[NotificationRule, int]]:
    """Return rules with the number of their open notifications; one query."""
    keys = Notification.objects.filter(kind=NotificationKind.RULE, recovered_at=None).values_list("key", flat=True)
    numbers = [key.partition("/")[0] for key in keys]
    return [(rule, numbers.count(str(rule.pk))) for rule in rows]
