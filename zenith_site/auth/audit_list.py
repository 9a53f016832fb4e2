"""The audit log as a filtered list in pages, newest first: for the page, the API and files."""

from collections.abc import Callable, Iterator, Sequence
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
from zenith_site.common.jsonsafe import require_storable
from zenith_site.models import AuditEntry

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
#: Entries that one page searches at most: a filter with few matches must not read a year's log.
MAX_SCANNED = 100_000
_MOST: Final = 2**63 - 1

#: The columns of a file, and the fields of the API's entries.
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


Text = Annotated[str, AfterValidator(require_storable)]


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, newest first, and the filter that continues after them, if older ones may match."""

    entries: Sequence[AuditEntry]
    following: "AuditFilter | None"


class AuditFilter(BaseModel):
    """Which entries to list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="How many to return.")
    cursor: int = Field(default=0, ge=0, le=_MOST, description="Where to continue: taken from the `Link` of a page.")
    username: Text = Field(default="", max_length=150, description="Only actions of this user, or of a token of theirs.")
    address: Annotated[str, AfterValidator(_address)] = Field(default="", description="Only actions from this IP address.")
    action: Text = Field(
        default="", max_length=200, description="Only this action, such as `login failed` or `POST /tasks/trigger`."
    )
    status: int | None = Field(default=None, ge=100, le=4999, description="Only responses with this status.")
    refused: bool | None = Field(default=None, description="`true`: only refusals; `false`: everything else.")

    def page(self) -> Page:
        """Return one page, in two queries. A filtered page searches MAX_SCANNED ids at most, so it may be short."""
        ends = AuditEntry.objects.aggregate(oldest=Min("id"), newest=Max("id"))
        oldest, newest = ends["oldest"] or 1, ends["newest"] or 0
        end = min(self.cursor or newest + 1, newest + 1)
        first = max(oldest, end - MAX_SCANNED) if self._filters() else oldest
        matches = list(self._query().filter(id__lt=end, id__gte=first).order_by("-id")[: self.limit + 1])
        entries = matches[: self.limit]
        if len(matches) > self.limit:
            return Page(entries, self.model_copy(update={"cursor": entries[-1].id}))
        return Page(entries, self.model_copy(update={"cursor": first}) if first > oldest else None)

    def rows(self, most: int) -> Iterator[AuditEntry]:
        """Yield the entries that match, from the newest on, at most so many."""
        following: AuditFilter | None = self.model_copy(update={"limit": MAX_LIMIT, "cursor": 0})
        remaining = most
        while following is not None and remaining > 0:
            page = following.page()
            yield from page.entries[:remaining]
            remaining -= len(page.entries)
            following = page.following

    def query_string(self) -> str:
        """Return this filter as a URL's query, without the defaults."""
        return urlencode(self.model_dump(exclude_defaults=True, mode="json"))

    def _filters(self) -> dict[str, Any]:
        fields = {"username": self.username, "address": self.address, "action": self.action, "status": self.status}
        filters = {name: value for name, value in fields.items() if value}
        return filters if self.refused is None else {**filters, "refusal__isnull": not self.refused}

    def _query(self) -> QuerySet[AuditEntry]:
        return AuditEntry.objects.filter(**self._filters())


def write_pending_refusals() -> None:
    """Write the counts of refusals before they are read. If a server is unreachable, the list shows the older counts."""
    with suppress(redis.RedisError, Error):
        refusals.write_counts()
