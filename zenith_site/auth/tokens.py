"""API tokens: made once, shown once, kept as a hash.

A raw token is `zen_` and 43 characters of base64url, which hold 256 random bits. The prefix lets
people tell tokens apart and lets secret scanners find one that was published by mistake.
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
#: `last_used_at` is written at most this often: one request in a burst, not each.
_NOTED_EVERY: Final = timedelta(minutes=1)


def create_token(
    user: "User",
    name: str,
    scopes: Iterable[str],
    expires_at: datetime | None = None,
    rate_limit: str = "",
    maker: ApiToken | None = None,
) -> tuple[ApiToken, str]:
    """Make a token that acts for `user`; return it and its raw form, which is not kept.

    One that is made with another token, its `maker`, has no more than that, and ends with it.
    Raises ValueError for an unknown scope or none.
    """
    raw = new_raw()
    fields = {"user": user, "name": name, "scopes": _known(scopes), "expires_at": expires_at, "rate_limit": rate_limit}
    if maker is not None:
        fields["maker_ids"] = [*maker.maker_ids, maker.pk]
    return ApiToken.objects.create(**fields, **identity(raw)), raw


def new_raw() -> str:
    """Return a new random token."""
    return MARK + secrets.token_urlsafe(32)


def identity(raw: str) -> dict[str, str]:
    """Return the fields that a raw token determines.

    A key that someone chose may be short: never more than a quarter of it is shown.
    """
    return {"prefix": raw[: min(8, len(raw) // 4)], "hash": _hash(raw)}


def look_up(raw: str) -> tuple[ApiToken | None, str]:
    """Return the token, with its user, and why it opens nothing: an empty text where it does.

    One query, and one more where it was made with another.
    """
    digest = _hash(raw)
    token = ApiToken.objects.select_related("user").filter(hash=digest).first()
    if token is None or not constant_time_compare(token.hash, digest):
        return None, "The token is unknown."
    now = timezone.now()
    why = token.why_invalid(now)
    if not why:
        _note_use(token, now)
    return token, why


def revoke(tokens: QuerySet[ApiToken]) -> tuple[int, int]:
    """Make tokens open nothing any more, and for good what was made with them; return how many of each were still in use."""
    ids = list(tokens.values_list("pk", flat=True))
    with transaction.atomic():
        now = timezone.now()
        own = ApiToken.objects.filter(pk__in=ids, revoked_at=None).update(revoked_at=now)
        return own, made_with(ids).update(revoked_at=now)


def made_with(ids: Iterable[int]) -> QuerySet[ApiToken]:
    """Return the tokens that come from these, however many others lie between, and are not revoked."""
    return ApiToken.objects.filter(maker_ids__overlap=list(ids), revoked_at=None).exclude(pk__in=list(ids))


def caller_for(token: ApiToken) -> Caller:
    """Return the caller that a valid token stands for."""
    return Caller(
        name=f"token {token}",
        key=f"token:{token.pk}",
        user=token.user,
        scopes=frozenset(token.effective_scopes),
        rate_limit=parse_rate(token.rate_limit),
    )


def _note_use(token: ApiToken, now: datetime) -> None:
    earlier = now - _NOTED_EVERY
    if token.last_used_at is None or token.last_used_at < earlier:
        stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=earlier)
        ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)


def _hash(raw: str) -> str:
    return hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()


def _known(scopes: Iterable[str]) -> list[str]:
    wanted = {Scope(scope) for scope in scopes}
    if not wanted:
        raise ValueError("a token needs at least one scope")
    return [scope.value for scope in Scope if scope in wanted]
