"""The audit log in the API."""

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
    """An action that a caller took, or was refused."""

    id: int
    at: datetime = Field(description="When it happened. For refusals that are counted together, the time of the first.")
    username: str = Field(description="Empty for an anonymous caller or the command line.")
    token: str = Field(description="Name and first characters of the token; empty if none was used.")
    address: str | None = Field(description="The client's IP address.")
    action: str = Field(description="Method and route, or an event such as `login`.")
    path: str
    status: int | None = Field(description="The status of the HTTP response, or the close code of the WebSocket.")
    count: int = Field(description="The number of refusals in this entry: those of one caller, kind and route within a minute.")
    refused: bool = Field(description="Whether it was refused (401, 403, 429; over a WebSocket 4401, 4403, 4429).")
    detail: dict[str, Any] = Field(description="Numbers and ids; for a refusal, the reason as `why`.")

    @classmethod
    def of(cls, entry: AuditEntry) -> "AuditEntryAnswer":
        """Return the answer for an entry."""
        return cls(**{name: value(entry) for name, value in audit_list.COLUMNS})


@router.get("", response=list[AuditEntryAnswer], summary="List the audit log, newest first", operation_id="list_audit_entries")
def list_audit_entries(request: HttpRequest, response: HttpResponse, query: Query[AuditFilter]) -> list[AuditEntryAnswer]:
    """Return one page. If there is a next page, the header `Link: <…>; rel="next"` leads to it.

    A filtered page searches at most 100,000 entries, so it may be short or empty. Continue as long as there is a `Link`.
    """
    authorize(request, READ_AUDIT)
    refuse_unknown(request, AuditFilter)
    audit_list.write_pending_refusals()
    page = query.page()
    link_next(request, response, page.following)
    return [AuditEntryAnswer.of(entry) for entry in page.entries]
