"""The audit log as a page: read-only, filtered, in pages by key."""

from typing import Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe
from pydantic import ValidationError

from zenith_site.auth import audit_list
from zenith_site.auth.audit_list import AuditFilter
from zenith_site.auth.permissions import READ_AUDIT
from zenith_site.common.callers import Shows, authorize
from zenith_site.common.downloads import MOST, download, requested_format
from zenith_site.common.pages import render_page
from zenith_site.people_page import section_context

PAGE: Final = 50
_FIELDS: Final = ("username", "address", "action", "status", "refused", "cursor")


@require_safe
def audit_log(request: HttpRequest) -> HttpResponseBase:
    """Show the audit log, newest first, or return it as a file."""
    caller = authorize(request, READ_AUDIT, Shows.EVERYTHING)
    filter_, problem = _parse_filter(request)
    if (kind := requested_format(request)) and not problem:
        audit_list.write_pending_refusals()
        return download(kind, "audit-log", audit_list.COLUMNS, filter_.rows(MOST))
    audit_list.write_pending_refusals()
    page = filter_.page()
    first = filter_.model_copy(update={"cursor": 0, "limit": audit_list.DEFAULT_LIMIT}).query_string()
    context = {
        "entries": page.entries, "filter": filter_, "problem": problem, "file_query": first, "filtered": bool(first),
        "first_url": f"?{first}" if filter_.cursor else "",
        "next_url": f"?{page.following.query_string()}" if page.following else "",
        **section_context(caller),
    }  # fmt: skip
    return render_page(request, "settings/audit.html", context, fragments=["settings/_audit.html"])


def _parse_filter(request: HttpRequest) -> tuple[AuditFilter, str]:
    given = {name: request.GET[name].strip() for name in _FIELDS if request.GET.get(name, "").strip()}
    try:
        return AuditFilter(limit=PAGE, **given), ""  # type: ignore[arg-type]
    except ValidationError:
        return AuditFilter(limit=PAGE), "This filter is not valid. All entries are shown."
