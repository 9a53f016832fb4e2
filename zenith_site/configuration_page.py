"""The page of settings in people's words, for administrators: what each means, its value, and the variable that sets it."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from zenith_site.common.callers import ADMINISTER, Shows, authorize
from zenith_site.common.pages import render_page
from zenith_site.people_page import section_context
from zenith_site.settings_catalog import SECTIONS, found


@require_safe
def configuration(request: HttpRequest) -> HttpResponse:
    """Show all settings by what they are about, or those that match `?q=`."""
    caller = authorize(request, ADMINISTER, Shows.EVERYTHING)
    query = request.GET.get("q", "")[:200]
    sections = list(found(query))
    context = {
        "sections": sections, "all_sections": SECTIONS, "q": query, "count": sum(len(matching) for _, matching in sections),
        **section_context(caller),
    }  # fmt: skip
    return render_page(request, "settings/configuration.html", context, fragments=["settings/_configuration.html"])
