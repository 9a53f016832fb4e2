"""API tokens: shown once, stored as a hash.

A raw token is `zen_` and 43 characters of base64url, which hold 256 random bits. Secret scanners recognize the prefix in a token
that was published by mistake.
"""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from zenith_site.common.callers import Caller
from zenith_site.env import parse_rate
from zenith_site.models import ApiToken, Scope

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MARK: Final = "zen_"
#: `last_used_at` is written at most this often, not with each request of a burst.
_NOTED_EVERY: Final = timedelta(minutes=1)


def create_token(
    user: "User",
    name: str,
    scopes: Iterable[str],
    expires_at: datetime | None = None,
    rate_limit: str = "",
    maker: ApiToken | None = None,
    applications: Iterable[str] = (),
) -> tuple[ApiToken, str]:
    """Create a token that acts for `user`; return it and its raw form, which is not stored.

    A token made with another one, its `maker`, has no more rights than that, and ends with it. `applications` limits it to
    those; without any it sees those that its user and its maker see.
    Raises ValueError for an unknown scope or none.
    """
    raw = new_raw()
    fields = {"user": user, "name": name, "scopes": _known(scopes), "expires_at": expires_at, "rate_limit": rate_limit}
    fields["applications"] = sorted(set(applications))
    if maker is not None:
        fields["maker_ids"] = [*maker.maker_ids, maker.pk]
    return ApiToken.objects.create(**fields, **identity(raw)), raw


def new_raw() -> str:
    """Return a new random token."""
    return MARK + secrets.token_urlsafe(32)


def identity(raw: str) -> dict[str, str]:
    """Return the fields that a raw token determines.

    The prefix is at most a quarter of the token: a key that somebody chose may be short.
    """
    return {"prefix": raw[: min(8, len(raw) // 4)], "hash": _hash(raw)}


def find_token(raw: str) -> tuple[ApiToken | None, str]:
    """Return the token with its user, and why it is not valid: an empty text if it is.

    One query, and one more if it was made with another token.
    """
    digest = _hash(raw)
    token = ApiToken.objects.select_related("user__application_limit").filter(hash=digest).first()
    if token is None or not constant_time_compare(token.hash, digest):
        return None, "The token is unknown."
    now = timezone.now()
    why = token.why_invalid(now)
    if not why:
        _note_use(token, now)
    return token, why


def revoke(tokens: QuerySet[ApiToken]) -> tuple[int, int]:
    """Revoke tokens and those made with them, for good; return how many of each were not revoked yet."""
    ids = list(tokens.values_list("pk", flat=True))
    with transaction.atomic():
        now = timezone.now()
        own = ApiToken.objects.filter(pk__in=ids, revoked_at=None).update(revoked_at=now)
        return own, made_with(ids).update(revoked_at=now)


def made_with(ids: Iterable[int]) -> QuerySet[ApiToken]:
    """Return the tokens that descend from these, in any generation, and are not revoked."""
    return ApiToken.objects.filter(maker_ids__overlap=list(ids), revoked_at=None).exclude(pk__in=list(ids))


def caller_for(token: ApiToken) -> Caller:
    """Return the caller of a valid token."""
    return Caller(
        name=f"token {token}",
        key=f"token:{token.pk}",
        user=token.user,
        scopes=frozenset(token.effective_scopes),
        rate_limit=parse_rate(token.rate_limit),
        applications=token.effective_applications,
    )


def _note_use(token: ApiToken, now: datetime) -> None:
    earlier = now - _NOTED_EVERY
    if token.last_used_at is None or token.last_used_at < earlier:
        stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=earlier)
        ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)


def _hash(raw: str) -> str:
    return hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()


def _known(scopes: Iterable[str]) -> list[str]:
    requested = {Scope(scope) for scope in scopes}
    if not requested:
        raise ValueError("a token needs at least one scope")
    return [scope.value for scope in Scope if scope in requested]
