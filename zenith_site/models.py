"""The site's own tables: API tokens and the audit log."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q, Value
from django.utils import timezone
from django.utils.functional import cached_property

from zenith_site.common.callers import applications_of
from zenith_site.env import ACCEPTED_RATE, parse_rate


class Scope(models.TextChoices):
    """What a token may do, within its user's permissions; zenith_site/common/callers.py maps scopes to permissions."""

    READ = "read", "Read: look at tasks, workers and queues"
    DISPATCH = "dispatch", "Dispatch: start tasks"
    OPERATE = "operate", "Operate: cancel, retry, replay, discard; control queues and workers"
    INFRA = "infra", "Infra: manage Docker hosts and worker nodes"
    ADMIN = "admin", "Admin: manage tokens"


def validate_rate(value: str) -> None:
    """Raise ValidationError unless the text is a rate such as `5/60s`."""
    if parse_rate(value) is None:
        raise ValidationError(f"Enter {ACCEPTED_RATE}.")


class ApiToken(models.Model):
    """A program's key. Only its hash is stored, so it can be checked but never shown again."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=60, help_text="What uses it.")
    prefix = models.CharField(max_length=12, editable=False)
    # SHA-256 without salt or stretching is enough: the key is 256 random bits and cannot be guessed.
    # Unique: zenith_site/auth/tokens.py finds a token by it.
    hash = models.CharField(max_length=64, unique=True, editable=False)
    scopes = ArrayField(models.CharField(max_length=8, choices=Scope))
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: never.")
    rate_limit = models.CharField(
        max_length=20, blank=True, default="", db_default="", validators=[validate_rate],
        help_text="Triggers that this token may send, such as 100/60s. Empty: ZENITH_RATE_LIMIT.",
    )  # fmt: skip
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Ids, not foreign keys: a deleted parent must still end the tokens made with it, and its id stays known.
    maker_ids = ArrayField(
        models.BigIntegerField(), default=list, blank=True, editable=False,
        db_default=Value([], output_field=ArrayField(models.BigIntegerField())),
        help_text="The token that it was made with comes last, and before each the one that made that.",
    )  # fmt: skip
    applications = ArrayField(
        models.CharField(max_length=50), default=list, blank=True,
        db_default=Value([], output_field=ArrayField(models.CharField(max_length=50))),
        help_text="The names of the applications that it sees, as far as its user does. Empty: those of its user.",
    )  # fmt: skip

    class Meta:
        verbose_name = "API token"
        ordering = ("-id",)
        # Two permissions without a model of their own; zenith_site/common/callers.py names them.
        permissions = (
            ("manage_infra", "Can manage Docker hosts and worker nodes"),
            ("administer", "Can administer users, tokens and the audit log"),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(scopes__contained_by=Scope.values) & Q(scopes__len__gte=1),
                name="api_token_scopes_known",
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @cached_property
    def makers(self) -> "list[ApiToken | None]":
        """The tokens of `maker_ids` with their users; None for deleted ones. See `load_makers`."""
        return load_makers([self])[0]

    @property
    def made_by(self) -> "ApiToken | None":
        """The parent token, if there is one and it still exists."""
        return self.makers[-1] if self.makers else None

    @property
    def effective_scopes(self) -> list[str]:
        """The scopes that all parent tokens have, too."""
        return [scope for scope in self.scopes if all(maker is None or scope in maker.scopes for maker in self.makers)]

    @property
    def effective_applications(self) -> frozenset[str] | None:
        """The applications that the token, all its parents and its user may see; None for all."""
        known_tokens = [token for token in (self, *self.makers) if token is not None]
        limits = [applications_of(self.user), *(frozenset(token.applications) or None for token in known_tokens)]
        given = [limit for limit in limits if limit is not None]
        return frozenset.intersection(*given) if given else None

    @property
    def seen_names(self) -> list[str] | None:
        """The same, in order, to be shown."""
        return None if self.effective_applications is None else sorted(self.effective_applications)

    @property
    def ends_at(self) -> datetime | None:
        """When the token, or the first of its parents, expires."""
        ends = [token.expires_at for token in (self, *self.makers) if token is not None and token.expires_at is not None]
        return min(ends, default=None)

    @property
    def has_ended(self) -> bool:
        """Whether the token is invalid only because of its parents."""
        now = timezone.now()
        return bool(self.why_invalid(now)) and not self._own_end(now)

    def is_valid(self, now: datetime) -> bool:
        """Whether the token is valid at this time."""
        return not self.why_invalid(now)

    def why_invalid(self, now: datetime) -> str:
        """Return why the token is not valid at this time, as a sentence; an empty text if it is."""
        if why := self._own_end(now):
            return why
        if any(maker is None or maker._own_end(now) for maker in self.makers):
            return "Its parent token is no longer valid."
        return ""

    def _own_end(self, now: datetime) -> str:
        if self.revoked_at is not None:
            return "The token is revoked."
        if self.expires_at is not None and self.expires_at <= now:
            return "The token has expired."
        return "" if self.user.is_active else "The token's user is not active."


def load_makers(tokens: Sequence[ApiToken]) -> "list[list[ApiToken | None]]":
    """Load the parents of all these tokens in at most one query, set them on each token, and return them."""
    ids = {number for token in tokens for number in token.maker_ids}
    makers = ApiToken.objects.select_related("user").in_bulk(ids) if ids else {}
    for token in tokens:
        token.makers = [makers.get(number) for number in token.maker_ids]
    return [token.makers for token in tokens]


class ApplicationLimit(models.Model):
    """The applications that a user may see, by name. Without a row, or with an empty one, a user sees all.

    Names, not keys: the site knows no table of applications, and a name is never given to another application.
    """

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="application_limit"
    )
    applications = ArrayField(models.CharField(max_length=50), default=list, blank=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return ", ".join(self.applications) or "all applications"


class AuditEntry(models.Model):
    """An action that somebody took, or was refused. zenith_site/auth/audit.py writes it; it never changes.

    Only the count of a refusal grows, until its minute is over (zenith_site/auth/refusals.py). What an entry names may have been
    deleted by the time it is read, so it holds text and no foreign key.
    """

    at = models.DateTimeField(default=timezone.now, editable=False)
    user_id = models.BigIntegerField(null=True, blank=True, help_text="NULL: a stranger, or the command line.")
    username = models.CharField(max_length=150, blank=True, default="")
    token = models.CharField(max_length=80, blank=True, default="", help_text="Name and first characters of the token used.")
    address = models.GenericIPAddressField(null=True, blank=True)
    action = models.CharField(max_length=200, help_text="Such as `POST /tasks/trigger` or `login`.")
    path = models.CharField(max_length=500, blank=True, default="")
    status = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Of the HTTP answer, or the close code of a WebSocket."
    )
    count = models.PositiveIntegerField(default=1, db_default=1, help_text="How many refusals the entry tells of.")
    refusal = models.UUIDField(null=True, blank=True, editable=False)
    detail = models.JSONField(default=dict, blank=True)

    class Meta:
        verbose_name = "audit entry"
        verbose_name_plural = "audit log"
        ordering = ("-id",)
        default_permissions = ("view",)
        constraints = (
            # One entry, however often its count is written.
            models.UniqueConstraint(fields=("refusal",), condition=Q(refusal__isnull=False), name="audit_entry_refusal"),
        )

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.username or 'somebody'}: {self.action}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Append the entry. Raises TypeError if it is already stored."""
        if not self._state.adding:
            raise TypeError("an audit entry does not change")
        super().save(*args, **kwargs)
