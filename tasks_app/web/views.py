"""The pages' views: load, authorise, one call, answer."""

from http import HTTPStatus
from typing import Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.views.decorators.http import require_POST, require_safe

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.web.context import outcomes_context, overview_context
from zenith_site.common import limits
from zenith_site.common.callers import DISPATCH, VIEW, audit_details, authorize, refuse
from zenith_site.common.errors import RateLimitedError
from zenith_site.common.pages import answer, render_page, wants_fragments

#: What depends on the time that the Overview shows, and the dead letters, which nothing pushes.
FRAGMENTS: Final = [f"overview/_{name}.html" for name in ("head", "succeeded", "outcomes", "load", "letters")]


@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """How things stand, live."""
    authorize(request, VIEW)
    # What is the same for everybody comes over the socket, so an open page asks for the rest alone.
    context = outcomes_context(request) if wants_fragments(request) else {**overview_context(), **outcomes_context(request)}
    return render_page(request, "overview/overview.html", context, fragments=FRAGMENTS)


@require_POST
def run(request: HttpRequest) -> HttpResponse:
    """Dispatch ten sample tasks."""
    caller = authorize(request, DISPATCH)
    try:
        limits.count_trigger(caller)
    except RateLimitedError as error:
        refuse(request, str(error), HTTPStatus.TOO_MANY_REQUESTS)
        messages.info(request, come_again(error))
        return answer(request, "tasks:overview", status=429, headers={"Retry-After": str(error.retry_after)})
    done = dispatch(Dispatch(), Origin(source="page", sent_by=caller.name, user_id=caller.user.pk))
    audit_details(request, tasks=len(done.ids), batch=str(done.batch_id))
    messages.success(request, f"{len(done.ids)} tasks sent.")
    return answer(request, "tasks:overview")


def come_again(error: RateLimitedError) -> str:
    """Say when tasks may be sent again; where scripts run, static/js/page.js counts the seconds down."""
    return format_html(
        "You may send tasks {} times in {} s. Nothing was sent now; you can go on in "
        '<span data-countdown aria-live="off">{}</span> s.',
        error.limit, error.window, error.retry_after,
    )  # fmt: skip
