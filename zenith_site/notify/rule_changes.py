"""Make, change and remove the rules of people: one place for what a rule may say, for the page and the API."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.utils import timezone
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from zenith_site.common.advisory_locks import AdvisoryLock
from zenith_site.common.application_names import application_names
from zenith_site.common.callers import Caller
from zenith_site.common.errors import InvalidInputError, Problem, StateConflictError
from zenith_site.common.jsonsafe import require_storable
from zenith_site.common.live_updates import refresh_pages
from zenith_site.notify.destinations import all_channels
from zenith_site.notify.kinds import BUILT_IN, NotificationKind, Severity, Subject
from zenith_site.notify.models import NotificationRule
from zenith_site.notify.rule_evaluation import MAX_RULES

if TYPE_CHECKING:
    from django.contrib.auth.models import User

#: Minutes of a rule's window at most.
MAX_MINUTES: Final = 24 * 60
#: The furthest that something can be muted.
MAX_MUTE: Final = timedelta(days=365)
_MOST: Final = 1_000_000_000


def _printable(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise ValueError("must be printable, and have no space at its ends")
    return require_storable(value)


def _time(value: Any) -> Any:
    if value is None or isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("must be a time with its offset, such as 2030-01-31T12:00:00Z") from None


def _until(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    if value.tzinfo is None:
        raise ValueError("must be a time with its offset, such as 2030-01-31T12:00:00Z")
    if value > timezone.now() + MAX_MUTE:
        raise ValueError("is more than a year away")
    return value


#: Until when something is muted; None if it is not.
Until = Annotated[datetime | None, BeforeValidator(_time), AfterValidator(_until)]
Pattern = Annotated[str, Field(max_length=255), AfterValidator(_printable)]


class RuleRequest(BaseModel):
    """A notification rule as somebody describes it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "name": "Reports fail", "subject": "failures", "task": "report*", "threshold": 10, "minutes": 5,
                "severity": "critical", "channels": ["slack"],
            }
        },
    )  # fmt: skip

    name: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)] = Field(
        description="The title of its notifications."
    )
    subject: Subject = Field(
        description="What it is about. " + " ".join(f"`{subject.value}`: {subject.sentence}" for subject in Subject)
    )
    task: Pattern = Field(default="", description="Only tasks whose names match; `*` stands for any text.")
    queue: Pattern = Field(default="", description="Only queues whose names match; `*` stands for any text.")
    worker: Pattern = Field(default="", description="Only workers whose names match; `*` stands for any text.")
    error_type: Pattern = Field(default="", description="Only errors whose types match; `*` stands for any text.")
    fingerprint: Annotated[str, Field(max_length=32), AfterValidator(_printable)] = Field(
        default="", description="Only the cause of failures with this fingerprint."
    )
    application: Annotated[str, Field(max_length=50)] = Field(
        default="", description="Only the application with this name; empty for all."
    )
    kind: NotificationKind | None = Field(default=None, description="The kind of notifications that `kind` counts.")
    threshold: int = Field(
        default=0, ge=0, le=_MOST, description="It fires above this number. Of a share: the least number of tasks that ended."
    )
    share: int = Field(default=0, ge=0, le=99, description="It fires above this share, in percent.")
    minutes: int = Field(default=5, ge=1, le=MAX_MINUTES, description="The length of its window.")
    severity: Severity = Field(default=Severity.WARNING, description="The severity of its notifications.")
    channels: list[Annotated[str, Field(max_length=36)]] = Field(
        default_factory=list, max_length=60, description="Where its notifications are sent, besides the page."
    )
    muted_until: Until = Field(default=None, description="Until then it opens nothing; `null`: it is not muted.")
    owner: Annotated[str, Field(max_length=150)] | None = Field(
        default=None, description="The name of the user who looks after it; `null`: you, or nobody new if it exists."
    )

    def unsaved(self, rule: NotificationRule | None = None) -> NotificationRule:
        """Return the rule with these fields, or a new one; not saved. Raises InvalidInputError for what it may not say."""
        _check(self)
        rule = rule or NotificationRule()
        for name in ("name", "task", "queue", "worker", "error_type", "fingerprint", "application", "threshold", "share"):
            setattr(rule, name, getattr(self, name))
        rule.subject, rule.severity, rule.kind = self.subject.value, self.severity.value, self.kind.value if self.kind else ""
        rule.minutes, rule.muted_until, rule.channels = self.minutes, self.muted_until, list(dict.fromkeys(self.channels))
        return rule


def save_rule(caller: Caller, body: RuleRequest, rule: NotificationRule | None = None) -> NotificationRule:
    """Make a rule, or change one. Raises InvalidInputError, or StateConflictError if there are too many."""
    is_new = rule is None
    owner = _owner(body.owner) if body.owner else (caller.user if rule is None else rule.owner)
    row = body.unsaved(rule)
    row.owner = owner
    with transaction.atomic():
        if is_new:
            _require_place()
            row.created_by = caller.name[:150]
        row.save()
    refresh_pages("notifications")
    return row


def mute_rule(rule: NotificationRule, until: datetime | None) -> None:
    """Mute a rule until a moment, or end that."""
    rule.muted_until = until
    rule.save(update_fields=["muted_until", "changed_at"])
    refresh_pages("notifications")


def remove_rule(rule: NotificationRule) -> None:
    """Remove a rule. What it opened is over at the next check."""
    rule.delete()
    refresh_pages("notifications")


def possible_owners() -> list[str]:
    """Return the names of the users who may look after a rule, at most 500."""
    return list(get_user_model().objects.filter(is_active=True).order_by("username").values_list("username", flat=True)[:500])


def _owner(name: str) -> "User":
    user = get_user_model().objects.filter(username=name, is_active=True).first()
    if user is None:
        raise InvalidInputError(Problem("/owner", "is not the name of an active user"))
    return user


def _require_place() -> None:
    """Refuse one more rule beyond MAX_RULES, also if several are made at the same time."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [AdvisoryLock.NOTIFICATION_RULES])
    if NotificationRule.objects.count() >= MAX_RULES:
        raise StateConflictError(f"There are {MAX_RULES} rules; that is the most. Remove one that is no longer needed.")


def _check(body: RuleRequest) -> None:
    subject = body.subject
    problems = [
        Problem(f"/{name}", f"is not for rules about “{subject.label}”")
        for name in ("task", "queue", "worker", "error_type", "fingerprint", "application", "kind")
        if getattr(body, name) and name not in subject.filters
    ]
    if subject is Subject.KIND and body.kind not in BUILT_IN:
        problems.append(Problem("/kind", f"takes one of {', '.join(BUILT_IN)}"))
    if subject is Subject.FAILURE_SHARE and not body.share:
        problems.append(Problem("/share", "takes 1 to 99 percent"))
    if body.application and body.application not in application_names():
        problems.append(Problem("/application", "there is no application of this name"))
    known = {channel.key for channel in all_channels()} if body.channels else set()
    if any(key not in known for key in body.channels):
        problems.append(Problem("/channels", f"takes {', '.join(sorted(known)) or 'none: no channel is set up'}"))
    if problems:
        raise InvalidInputError(*problems)
