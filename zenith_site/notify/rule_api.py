"""`/api/v1/notification-rules`: the rules that people make, with the checks of the page."""

from datetime import datetime
from http import HTTPStatus

from django.http import Http404, HttpRequest
from ninja import Router, Status
from pydantic import BaseModel, Field

from zenith_site.auth.api import requires
from zenith_site.common.callers import OPERATE, VIEW, Shows, audit_details, authorize, known_caller
from zenith_site.common.openapi import problem_responses
from zenith_site.notify import outbox
from zenith_site.notify.destinations import all_channels
from zenith_site.notify.kinds import Channel, NotificationKind, Severity, Subject
from zenith_site.notify.models import NotificationRule
from zenith_site.notify.rule_changes import RuleRequest, remove_rule, save_rule
from zenith_site.notify.rule_evaluation import MAX_RULES, TooSlowError, preview

router = Router(tags=["notifications"])
channels_router = Router(tags=["notifications"])

_OPERATES = requires(OPERATE, Shows.EVERYTHING)


class RuleAnswer(BaseModel):
    """A notification rule."""

    id: int
    name: str
    subject: Subject
    task: str
    queue: str
    worker: str
    error_type: str
    fingerprint: str
    application: str
    kind: NotificationKind | None
    threshold: int
    share: int
    minutes: int
    severity: Severity
    channels: list[str]
    muted_until: datetime | None
    owner: str | None
    created_by: str
    created_at: datetime
    changed_at: datetime

    @classmethod
    def of(cls, rule: NotificationRule) -> "RuleAnswer":
        """Return the answer for a rule."""
        plain = {name: getattr(rule, name) for name in cls.model_fields if name not in ("owner", "kind")}
        return cls(
            **plain,
            owner=rule.owner.get_username() if rule.owner else None,
            kind=NotificationKind(rule.kind) if rule.kind else None,
        )


class PreviewAnswer(BaseModel):
    """When a rule would have fired."""

    times: list[datetime] | None = Field(
        description="The minutes of the last 24 hours in which it would have begun to fire; `null` if nothing is kept of it."
    )
    problem: str = Field(default="", description="Why that could not be counted.")


class TestAnswer(BaseModel):
    """What a test sends."""

    sent: int = Field(description="Channels that a test goes to; one with a test that still waits does not count.")


class ChannelAnswer(BaseModel):
    """A channel, without its address."""

    key: str = Field(description="What rules name it by.")
    name: str
    kind: Channel
    from_environment: bool = Field(description="Whether the environment sets it up; then no page changes it.")
    gets: str = Field(description="What it gets besides what rules send to it.")


@router.get("", response=list[RuleAnswer], summary="List the notification rules", operation_id="list_notification_rules")
def list_rules(request: HttpRequest) -> list[RuleAnswer]:
    """Return all rules that people made, the oldest first."""
    authorize(request, VIEW, Shows.EVERYTHING)
    return [RuleAnswer.of(rule) for rule in NotificationRule.objects.select_related("owner")[:MAX_RULES]]


@router.post(
    "", response={HTTPStatus.CREATED: RuleAnswer}, summary="Make a notification rule", operation_id="create_notification_rule",
    auth=_OPERATES, openapi_extra=problem_responses(HTTPStatus.CONFLICT),
)  # fmt: skip
def create(request: HttpRequest, body: RuleRequest) -> Status[RuleAnswer]:
    """Make a rule. An engine checks it within seconds."""
    rule = save_rule(known_caller(request), body)
    _audit(request, rule)
    return Status(HTTPStatus.CREATED, RuleAnswer.of(rule))


@router.post(
    "/preview", response=PreviewAnswer, summary="Preview a notification rule", operation_id="preview_notification_rule",
    auth=_OPERATES,
)  # fmt: skip
def preview_rule(request: HttpRequest, body: RuleRequest) -> PreviewAnswer:
    """Say when such a rule would have begun to fire in the last 24 hours, without making it."""
    try:
        times = preview(body.unsaved())
    except TooSlowError as error:
        return PreviewAnswer(times=None, problem=str(error))
    return PreviewAnswer.model_validate({"times": times})


@router.get(
    "/{rule_id}", response=RuleAnswer, summary="Show one notification rule", operation_id="show_notification_rule",
    openapi_extra=problem_responses(HTTPStatus.NOT_FOUND),
)  # fmt: skip
def show(request: HttpRequest, rule_id: str) -> RuleAnswer:
    """Return one rule."""
    authorize(request, VIEW, Shows.EVERYTHING)
    return RuleAnswer.of(_rule(rule_id))


@router.put(
    "/{rule_id}", response=RuleAnswer, summary="Replace a notification rule", operation_id="replace_notification_rule",
    auth=_OPERATES, openapi_extra=problem_responses(HTTPStatus.NOT_FOUND),
)  # fmt: skip
def replace(request: HttpRequest, rule_id: str, body: RuleRequest) -> RuleAnswer:
    """Replace what a rule says, also until when it is muted."""
    rule = save_rule(known_caller(request), body, _rule(rule_id))
    _audit(request, rule)
    return RuleAnswer.of(rule)


@router.delete(
    "/{rule_id}", response={HTTPStatus.NO_CONTENT: None}, summary="Remove a notification rule",
    operation_id="remove_notification_rule", auth=_OPERATES, openapi_extra=problem_responses(HTTPStatus.NOT_FOUND),
)  # fmt: skip
def remove(request: HttpRequest, rule_id: str) -> Status[None]:
    """Remove a rule. What it opened is over at the next check."""
    rule = _rule(rule_id)
    audit_details(request, rule=rule.name)
    remove_rule(rule)
    return Status(HTTPStatus.NO_CONTENT, None)


@router.post(
    "/{rule_id}/test", response=TestAnswer, summary="Test the channels of a rule", operation_id="test_notification_rule",
    auth=_OPERATES, openapi_extra=problem_responses(HTTPStatus.NOT_FOUND),
)  # fmt: skip
def test(request: HttpRequest, rule_id: str) -> TestAnswer:
    """Send a test message through the channels of a rule; an engine sends it within seconds."""
    rule = _rule(rule_id)
    known = {channel.key for channel in all_channels()}
    keys = [key for key in rule.channels if key in known]
    audit_details(request, rule=rule.name, tested=keys)
    return TestAnswer(sent=outbox.request_test(keys))


@channels_router.get(
    "", response=list[ChannelAnswer], summary="List the channels of notifications", operation_id="list_notification_channels"
)
def list_channels(request: HttpRequest) -> list[ChannelAnswer]:
    """Return all channels, those that the environment sets up first; never an address."""
    authorize(request, OPERATE, Shows.EVERYTHING)
    return [
        ChannelAnswer(
            key=channel.key, name=channel.name, kind=channel.kind, from_environment=channel.from_environment,
            gets=str(channel.gets) or "only what rules send to it",
        )
        for channel in all_channels()
    ]  # fmt: skip


def _audit(request: HttpRequest, rule: NotificationRule) -> None:
    audit_details(request, rule=rule.name, id=rule.pk, subject=rule.subject, severity=rule.severity, channels=rule.channels)


def _rule(text: str) -> NotificationRule:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
    rule = NotificationRule.objects.select_related("owner").filter(pk=number).first()
    if rule is None:
        raise Http404(f"There is no notification rule {text[:100]!r}.")
    return rule
