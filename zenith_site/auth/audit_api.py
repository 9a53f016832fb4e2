"""The audit log for programs."""

from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import BaseModel, Field

from zenith_site.auth import audit_list
from zenith_site.auth.audit_list import AuditFilter
from zenith_site.auth.permissions import READ_AUDIT
from zenith_site.common.callers import authorize
from zenith_site.common.paging import link_next, refuse_unknown
from zenith_site.models import AuditEntry

router = Router(tags=["audit log"])


class AuditEntryAnswer(BaseModel):
    """Something that somebody did, or was refused."""

    id: int
    at: datetime = Field(description="When it happened; of refusals that are counted together the first.")
    username: str = Field(description="Empty: a stranger, or the command line.")
    token: str = Field(description="Name and first characters of the token used; empty where there was none.")
    address: str | None = Field(description="The IP address that it came from.")
    action: str = Field(description="Method and route, or what a signal or a command tells, such as `login`.")
    path: str
    status: int | None = Field(description="Of the HTTP answer, or the close code of a WebSocket.")
    count: int = Field(description="How many refusals of one caller, kind and route the entry tells of, within a minute.")
    refused: bool = Field(description="Whether it was refused (401, 403, 429; over a WebSocket 4401, 4403, 4429).")
    detail: dict[str, Any] = Field(description="Numbers and ids; of a refusal `why`.")

    @classmethod
    def of(cls, entry: AuditEntry) -> "AuditEntryAnswer":
        """Return the answer for an entry."""
        return cls(**{name: value(entry) for name, value in audit_list.COLUMNS})


@router.get("", response=list[AuditEntryAnswer], summary="List the audit log, newest first", operation_id="list_audit_entries")
def list_audit_entries(request: HttpRequest, response: HttpResponse, chosen: Query[AuditFilter]) -> list[AuditEntryAnswer]:
    """Return one page; the field `Link: <…>; rel="next"` leads to the next where there is one.

    A page with filters looks through 100,000 entries at most, so it may be short or empty: go on while there is a `Link`.
    """
    authorize(request, READ_AUDIT)
    refuse_unknown(request, AuditFilter)
    audit_list.write_pending_refusals()
    page = chosen.page()
    link_next(request, response, page.following)
    return [AuditEntryAnswer.of(entry) for entry in page.entries]
