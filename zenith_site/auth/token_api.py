"""One's own tokens, for programs and for whatever page a person makes of it.

Managing tokens takes a session, or a token with the scope `admin`. Nobody can give away more than
they hold: a token is made with scopes whose permissions its maker has, by a token only with that
token's own scopes, and then it ends no later than that one does, and with it, whatever ends that.
"""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Router, Status
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from zenith_site.auth import tokens
from zenith_site.auth.api import requires
from zenith_site.auth.permissions import OWN_TOKENS
from zenith_site.auth.tokens import create_token
from zenith_site.common.callers import ADMINISTER, SCOPES, Caller, audit_details, authorize, known_caller
from zenith_site.common.errors import InvalidInputError, Problem, StateConflictError
from zenith_site.common.idempotency import IdempotencyKey, answer_once
from zenith_site.common.jsonsafe import storable_text
from zenith_site.env import ACCEPTED_RATE, parse_rate
from zenith_site.models import ApiToken, load_makers
from zenith_site.problems import documented

#: Tokens that one user may have at a time, not counting what was revoked or has expired; each has a rate limit of its own.
MAX_TOKENS: Final = 50
#: How many the list shows; those that open nothing any more leave it from its end.
_LISTED: Final = 200

router = Router(tags=["tokens"])

ScopeName = Literal["read", "dispatch", "operate", "infra", "admin"]


def _printable(value: str) -> str:
    if not value.isprintable() or storable_text(value) != value:
        raise ValueError("must be printable")
    return value


def _rate(value: str) -> str:
    if parse_rate(value) is None:
        raise ValueError(f"must be {ACCEPTED_RATE}")
    return value


def _time(value: Any) -> Any:
    """Read a time: strict models take JSON's text for nothing else."""
    if not isinstance(value, str):
        raise ValueError("must be a time with its offset, such as 2030-01-31T12:00:00Z")
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("must be a time with its offset, such as 2030-01-31T12:00:00Z") from None


class TokenRequest(BaseModel):
    """A token to make."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"example": {"name": "nightly import", "scopes": ["dispatch"]}}
    )

    name: Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_printable)] = Field(description="What uses it.")
    scopes: list[ScopeName] = Field(min_length=1, max_length=len(SCOPES), description="What it may do of what you may.")
    expires_at: Annotated[AwareDatetime, BeforeValidator(_time)] | None = Field(
        default=None, description="When it ends; `null`: never."
    )
    rate_limit: Annotated[str, Field(max_length=20), AfterValidator(_rate)] | None = Field(
        default=None, description="Its own limit of triggers, such as `100/60s`; takes the permission to administer."
    )


class TokenAnswer(BaseModel):
    """A token, without what would open anything."""

    id: int
    name: str
    prefix: str = Field(description="Its first characters, to tell it from others.")
    scopes: list[ScopeName]
    rate_limit: str | None = Field(description="Its own limit of triggers; `null`: the default.")
    made_by: int | None = Field(
        default=None, description="The id of the token that it was made with; it ends with that. `null`: none."
    )
    created_at: datetime
    expires_at: datetime | None = Field(description="When it ends, by itself or with a token that it comes from.")
    last_used_at: datetime | None = Field(description="Noted once a minute.")
    revoked_at: datetime | None

    @classmethod
    def of(cls, token: ApiToken) -> "TokenAnswer":
        """Return the answer for a token."""
        return cls(**_fields(token))


class NewTokenAnswer(TokenAnswer):
    """A token that was just made."""

    token: str | None = Field(
        description="The token itself. It is shown this once: `null` where an Idempotency-Key is used again, as it is not kept."
    )


@router.get("", response=list[TokenAnswer], summary="List your tokens, newest first", operation_id="list_tokens")
def list_tokens(request: HttpRequest) -> list[TokenAnswer]:
    """Return them all, with those that were revoked or have expired, up to 200."""
    caller = authorize(request, OWN_TOKENS)
    found = list(ApiToken.objects.filter(user=caller.user).order_by("-id")[:_LISTED])
    load_makers(found)
    return [TokenAnswer.of(token) for token in found]


@router.post(
    "",
    response={HTTPStatus.CREATED: NewTokenAnswer},
    openapi_extra=documented(HTTPStatus.CONFLICT),
    summary="Make a token",
    operation_id="create_token",
    auth=requires(OWN_TOKENS),
)
def create(
    request: HttpRequest, response: HttpResponse, body: TokenRequest, idempotency_key: IdempotencyKey = None
) -> Status[NewTokenAnswer]:
    """Make a token of your own, and show it this once.

    It gets no scope that you (or the token that you use) lack.
    """
    caller = known_caller(request)
    shown = []

    def act() -> TokenAnswer:
        token, raw = make_token(request, caller, body)
        shown.append(raw)
        return TokenAnswer.of(token)

    # Only what holds no secret is kept for a request that comes again.
    made = answer_once(request, response, caller, idempotency_key, body, act)
    fields = made.model_dump() if isinstance(made, TokenAnswer) else made
    return Status(HTTPStatus.CREATED, NewTokenAnswer(**fields, token=shown[0] if shown else None))


def make_token(request: HttpRequest, caller: Caller, body: TokenRequest) -> tuple[ApiToken, str]:
    """Make a token for the caller; return it and its raw form, which is not kept.

    Raises PermissionDenied, InvalidInputError or StateConflictError; then none was made.
    """
    _refuse_more_than_held(caller, body)
    _refuse_time(request, body.expires_at)
    with transaction.atomic():
        # Two requests at once must not both take the last place.
        get_user_model().objects.select_for_update().get(pk=caller.user.pk)
        if _usable(caller) >= MAX_TOKENS:
            raise StateConflictError(f"You have {MAX_TOKENS} tokens; revoke one that is no longer used.")
        token, raw = create_token(
            caller.user, body.name, body.scopes, body.expires_at, body.rate_limit or "", getattr(request, "api_token", None)
        )
    audit_details(request, created=str(token), scopes=token.scopes)
    return token, raw


@router.delete(
    "/{token_id}",
    response={HTTPStatus.NO_CONTENT: None},
    openapi_extra=documented(HTTPStatus.NOT_FOUND),
    summary="Revoke a token",
    operation_id="revoke_token",
    auth=requires(OWN_TOKENS),
)
def revoke(request: HttpRequest, token_id: str) -> Status[None]:
    """Make it and all tokens that were made with it open nothing any more; sockets that they opened are closed.

    They stay in the list.
    """
    revoke_token(request, known_caller(request), token_id)
    return Status(HTTPStatus.NO_CONTENT, None)


def revoke_token(request: HttpRequest, caller: Caller, token_id: str) -> ApiToken:
    """Revoke one of the caller's tokens, and what was made with it; return it. Raises Http404."""
    token = own_token(caller, token_id)
    _, others = tokens.revoke(ApiToken.objects.filter(pk=token.pk))
    audit_details(request, revoked=str(token), **({"made_with_it": others} if others else {}))
    return token


def _fields(token: ApiToken) -> dict[str, Any]:
    names = ("id", "name", "prefix", "created_at", "last_used_at", "revoked_at")
    return {
        **{name: getattr(token, name) for name in names},
        "scopes": token.effective_scopes,
        "rate_limit": token.rate_limit or None,
        "made_by": token.maker_ids[-1] if token.maker_ids else None,
        "expires_at": token.ends_at,
    }


def _refuse_more_than_held(caller: Caller, body: TokenRequest) -> None:
    lacking = [scope for scope in SCOPES if scope in body.scopes and not caller.may(SCOPES[scope])]
    if lacking:
        raise PermissionDenied(f"You cannot give a scope that you do not have: {', '.join(lacking)}.")
    if body.rate_limit is not None and not caller.may(ADMINISTER):
        raise PermissionDenied("A token's own rate limit is set by those who may administer.")


def _refuse_time(request: HttpRequest, expires_at: datetime | None) -> None:
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidInputError(Problem("/expires_at", "is in the past"))
    maker = getattr(request, "api_token", None)
    end = maker.ends_at if maker is not None else None
    if end is not None and (expires_at is None or expires_at > end):
        raise InvalidInputError(Problem("/expires_at", f"must be no later than {end.isoformat()}, when the token in use ends"))


def _usable(caller: Caller) -> int:
    now = timezone.now()
    unexpired = Q(expires_at=None) | Q(expires_at__gt=now)
    found = list(ApiToken.objects.select_related("user").filter(unexpired, user=caller.user, revoked_at=None))
    load_makers(found)
    return sum(token.is_valid(now) for token in found)


def own_token(caller: Caller, text: str) -> ApiToken:
    """Return one of the caller's tokens: another's is as unknown as one that never was."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
    token = ApiToken.objects.filter(user=caller.user, pk=number).first()
    if token is None:
        raise Http404(f"You have no token {text[:100]!r}.")
    return token
