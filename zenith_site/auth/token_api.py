"""The API for one's own tokens.

Managing tokens requires a session, or a token with the scope `admin`. Nobody can grant more than they have: a new token's scopes
need the caller's permissions. A token made with another (its parent) gets no more than the parent's scopes, and ends with it.
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
from zenith_site.common.application_names import application_names
from zenith_site.common.callers import ADMINISTER, SCOPES, Caller, Shows, audit_details, authorize, known_caller
from zenith_site.common.errors import InvalidInputError, Problem, StateConflictError
from zenith_site.common.idempotency import IdempotencyKey, answer_once
from zenith_site.common.jsonsafe import storable_text
from zenith_site.env import ACCEPTED_RATE, parse_rate
from zenith_site.models import ApiToken, load_makers
from zenith_site.problems import documented

#: Valid tokens that one user may have at a time; each has a rate limit of its own.
MAX_TOKENS: Final = 50
#: Tokens that the list shows at most, the newest first.
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
    """Parse a time: strict models do not convert JSON strings."""
    if not isinstance(value, str):
        raise ValueError("must be a time with its offset, such as 2030-01-31T12:00:00Z")
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("must be a time with its offset, such as 2030-01-31T12:00:00Z") from None


class TokenRequest(BaseModel):
    """A token to create."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"example": {"name": "nightly import", "scopes": ["dispatch"]}}
    )

    name: Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_printable)] = Field(
        description="What uses the token."
    )
    scopes: list[ScopeName] = Field(
        min_length=1, max_length=len(SCOPES), description="What the token may do; never more than you may."
    )
    expires_at: Annotated[AwareDatetime, BeforeValidator(_time)] | None = Field(
        default=None, description="When it expires; `null`: never."
    )
    rate_limit: Annotated[str, Field(max_length=20), AfterValidator(_rate)] | None = Field(
        default=None,
        description="The token's own rate limit for triggers, such as `100/60s`. Requires the permission to administer.",
    )
    applications: list[Annotated[str, Field(max_length=50)]] = Field(
        default_factory=list,
        max_length=200,
        description="The names of the applications that the token sees. Empty: all that you see.",
    )


class TokenAnswer(BaseModel):
    """A token, without its secret."""

    id: int
    name: str
    prefix: str = Field(description="The token's first characters, to recognize it by.")
    scopes: list[ScopeName]
    rate_limit: str | None = Field(description="The token's own rate limit for triggers; `null`: the default.")
    applications: list[str] | None = Field(
        default=None, description="The names of the applications that the token sees; `null`: all."
    )
    made_by: int | None = Field(default=None, description="The id of the parent token, with which this one ends; `null`: none.")
    created_at: datetime
    expires_at: datetime | None = Field(description="When it expires, by itself or with a parent token.")
    last_used_at: datetime | None = Field(description="When it was last used, to the minute.")
    revoked_at: datetime | None

    @classmethod
    def of(cls, token: ApiToken) -> "TokenAnswer":
        """Return the answer for a token."""
        return cls(**_fields(token))


class NewTokenAnswer(TokenAnswer):
    """A token that was just created."""

    token: str | None = Field(
        description="The secret token. It is shown only once: `null` if the Idempotency-Key was used before, as it is not stored."
    )


@router.get("", response=list[TokenAnswer], summary="List your tokens, newest first", operation_id="list_tokens")
def list_tokens(request: HttpRequest) -> list[TokenAnswer]:
    """Return up to 200 tokens, including revoked and expired ones.

    A token that is limited to some applications gets only tokens that see none besides these.
    """
    caller = authorize(request, OWN_TOKENS, Shows.FILTERED)
    return [TokenAnswer.of(token) for token in own_tokens(caller, _LISTED)]


@router.post(
    "",
    response={HTTPStatus.CREATED: NewTokenAnswer},
    openapi_extra=documented(HTTPStatus.CONFLICT),
    summary="Create a token",
    operation_id="create_token",
    auth=requires(OWN_TOKENS, Shows.FILTERED),
)
def create(
    request: HttpRequest, response: HttpResponse, body: TokenRequest, idempotency_key: IdempotencyKey = None
) -> Status[NewTokenAnswer]:
    """Create a token of your own. The response is the only one that shows it.

    It can have no scope that you, or the token that you use, do not have.
    """
    caller = known_caller(request)
    raw_tokens = []

    def act() -> TokenAnswer:
        token, raw = make_token(request, caller, body)
        raw_tokens.append(raw)
        return TokenAnswer.of(token)

    # The answer that is stored for a repeated request holds no secret.
    answer = answer_once(request, response, caller, idempotency_key, body, act)
    fields = answer.model_dump() if isinstance(answer, TokenAnswer) else answer
    return Status(HTTPStatus.CREATED, NewTokenAnswer(**fields, token=raw_tokens[0] if raw_tokens else None))


def make_token(request: HttpRequest, caller: Caller, body: TokenRequest) -> tuple[ApiToken, str]:
    """Create a token for the caller; return it and its raw form, which is not stored.

    Raises PermissionDenied, InvalidInputError or StateConflictError; then none was created.
    """
    _refuse_more_than_held(caller, body)
    _refuse_time(request, body.expires_at)
    _refuse_unseen(caller, body.applications)
    with transaction.atomic():
        # Two concurrent requests must not both take the last place.
        get_user_model().objects.select_for_update().get(pk=caller.user.pk)
        if _usable(caller) >= MAX_TOKENS:
            raise StateConflictError(f"You have {MAX_TOKENS} tokens. Revoke one that is no longer used.")
        token, raw = create_token(
            caller.user, body.name, body.scopes, body.expires_at, body.rate_limit or "", getattr(request, "api_token", None),
            body.applications,
        )  # fmt: skip
    limited = {"applications": token.applications} if token.applications else {}
    audit_details(request, created=str(token), scopes=token.scopes, **limited)
    return token, raw


@router.delete(
    "/{token_id}",
    response={HTTPStatus.NO_CONTENT: None},
    openapi_extra=documented(HTTPStatus.NOT_FOUND),
    summary="Revoke a token",
    operation_id="revoke_token",
    auth=requires(OWN_TOKENS, Shows.FILTERED),
)
def revoke(request: HttpRequest, token_id: str) -> Status[None]:
    """Revoke a token and all tokens made with it, and close the sockets that they opened.

    Revoked tokens stay in the list.
    """
    revoke_token(request, known_caller(request), token_id)
    return Status(HTTPStatus.NO_CONTENT, None)


def revoke_token(request: HttpRequest, caller: Caller, token_id: str) -> ApiToken:
    """Revoke one of the caller's tokens and those made with it; return it. Raises Http404."""
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
        "applications": token.seen_names,
    }


def _refuse_unseen(caller: Caller, names: list[str]) -> None:
    """Raise InvalidInputError for applications that do not exist, or that the caller may not see: the answer is the same."""
    seen = {name for name in application_names() if caller.sees(name)} if names else set()
    unseen = [index for index, name in enumerate(names) if name not in seen]
    if unseen:
        raise InvalidInputError(*(Problem(f"/applications/{index}", "there is no application of this name") for index in unseen))


def _refuse_more_than_held(caller: Caller, body: TokenRequest) -> None:
    lacking = [scope for scope in SCOPES if scope in body.scopes and not caller.may(SCOPES[scope])]
    if lacking:
        raise PermissionDenied(f"You cannot grant a scope that you do not have: {', '.join(lacking)}.")
    if body.rate_limit is not None and not caller.may(ADMINISTER):
        raise PermissionDenied("Only administrators can give a token its own rate limit.")


def _refuse_time(request: HttpRequest, expires_at: datetime | None) -> None:
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidInputError(Problem("/expires_at", "is in the past"))
    parent = getattr(request, "api_token", None)
    end = parent.ends_at if parent is not None else None
    if end is not None and (expires_at is None or expires_at > end):
        raise InvalidInputError(
            Problem("/expires_at", f"must be no later than {end.isoformat()}, when the token of this request expires")
        )


def _usable(caller: Caller) -> int:
    now = timezone.now()
    unexpired = Q(expires_at=None) | Q(expires_at__gt=now)
    unrevoked = list(ApiToken.objects.select_related("user").filter(unexpired, user=caller.user, revoked_at=None))
    load_makers(unrevoked)
    return sum(token.is_valid(now) for token in unrevoked)


def own_tokens(caller: Caller, most: int) -> list[ApiToken]:
    """Return the newest `most` tokens of the caller's user, without those that see more applications than the caller."""
    newest = list(ApiToken.objects.select_related("user__application_limit").filter(user=caller.user).order_by("-id")[:most])
    load_makers(newest)
    return [token for token in newest if _sees_no_more(token, caller)]


def _sees_no_more(token: ApiToken, caller: Caller) -> bool:
    """Whether a token sees only what the caller sees: others tell of other applications, and may do more."""
    if caller.applications is None:
        return True
    return token.effective_applications is not None and token.effective_applications <= caller.applications


def own_token(caller: Caller, text: str) -> ApiToken:
    """Return one of the caller's tokens, which sees no more applications than they.

    Raises Http404, for another's token too: its existence is not revealed.
    """
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
    token = ApiToken.objects.select_related("user__application_limit").filter(user=caller.user, pk=number).first()
    if token is None or not _sees_no_more(token, caller):
        raise Http404(f"You have no token {text[:100]!r}.")
    return token
