"""The audit log as a list: which entries, in pages of the newest first, for the API and as a file."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import redis
from django.db import Error
from django.db.models import Max, Min, QuerySet
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from zenith_site.auth import refusals
from zenith_site.common.jsonsafe import storable_text
from zenith_site.models import AuditEntry

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
#: Entries that one page looks through: a filter that few match must not read a year's log.
MAX_SCANNED = 100_000
_MOST: Final = 2**63 - 1

#: The columns of a file, and the members of the API's entries.
COLUMNS: Final[list[tuple[str, Callable[[AuditEntry], Any]]]] = [
    ("id", lambda entry: entry.id),
    ("at", lambda entry: entry.at),
    ("username", lambda entry: entry.username),
    ("token", lambda entry: entry.token),
    ("address", lambda entry: entry.address),
    ("action", lambda entry: entry.action),
    ("path", lambda entry: entry.path),
    ("status", lambda entry: entry.status),
    ("count", lambda entry: entry.count),
    ("refused", lambda entry: entry.refusal is not None),
    ("detail", lambda entry: entry.detail),
]


def _address(value: str) -> str:
    if "%" in value:
        raise ValueError("must be an address without a zone")
    return str(ip_address(value)) if value else ""


def _text(value: str) -> str:
    if storable_text(value) != value:
        raise ValueError("must be Unicode without NUL")
    return value


Text = Annotated[str, AfterValidator(_text)]


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, newest first, and the filter that continues after them, if older ones may match."""

    entries: Sequence[AuditEntry]
    following: "AuditFilter | None"


class AuditFilter(BaseModel):
    """Which entries to list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="How many to return.")
    cursor: int = Field(default=0, ge=0, le=_MOST, description="Where to go on; taken from the `Link` of a page.")
    username: Text = Field(default="", max_length=150, description="Only what was done by this user, or by a token of theirs.")
    address: Annotated[str, AfterValidator(_address)] = Field(default="", description="Only what came from this IP address.")
    action: Text = Field(default="", max_length=200, description="Only this, such as `login failed` or `POST /tasks/trigger`.")
    status: int | None = Field(default=None, ge=100, le=4999, description="Only what was answered with this status.")
    refused: bool | None = Field(default=None, description="`true`: only refusals; `false`: all but those.")

    def page(self) -> Page:
        """Return one page; two queries. With filters it looks through MAX_SCANNED ids, so it may be short."""
        ends = AuditEntry.objects.aggregate(oldest=Min("id"), newest=Max("id"))
        oldest, newest = ends["oldest"] or 1, ends["newest"] or 0
        end = min(self.cursor or newest + 1, newest + 1)
        first = max(oldest, end - MAX_SCANNED) if self._filters() else oldest
        found = list(self._query().filter(id__lt=end, id__gte=first).order_by("-id")[: self.limit + 1])
        shown = found[: self.limit]
        if len(found) > self.limit:
            return Page(shown, self.model_copy(update={"cursor": shown[-1].id}))
        return Page(shown, self.model_copy(update={"cursor": first}) if first > oldest else None)

    def query_string(self) -> str:
        """Return the URL's query for this filter; defaults are left out."""
        return urlencode(self.model_dump(exclude_defaults=True, mode="json"))

    def _filters(self) -> dict[str, Any]:
        wanted = {"username": self.username, "address": self.address, "action": self.action, "status": self.status}
        chosen = {name: value for name, value in wanted.items() if value}
        return chosen if self.refused is None else {**chosen, "refusal__isnull": not self.refused}

    def _query(self) -> QuerySet[AuditEntry]:
        return AuditEntry.objects.filter(**self._filters())


def write_pending_refusals() -> None:
    """Have the counts of refusals written before they are read; where a server is away they are as old as they are."""
    with suppress(redis.RedisError, Error):
        refusals.write_counts()
