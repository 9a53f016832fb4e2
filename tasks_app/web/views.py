"""The pages' views: load, authorise, one call, answer."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import format_html
from django.views.decorators.http import require_POST, require_safe

from tasks_app.dispatch import limits
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.errors import RateLimitedError
from tasks_app.web.context import overview_context
from zenith_site.common.callers import DISPATCH, VIEW, caller_of, note
from zenith_site.common.pages import answer


@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """How things stand, live."""
    caller_of(request, VIEW)
    return render(request, "overview/overview.html", overview_context())


@require_POST
def run(request: HttpRequest) -> HttpResponse:
    """Dispatch ten sample tasks."""
    caller = caller_of(request, DISPATCH)
    try:
        limits.count_trigger(caller)
    except RateLimitedError as error:
        messages.info(request, come_again(error))
        return answer(request, "tasks:overview", status=429, headers={"Retry-After": str(error.retry_after)})
    done = dispatch(Dispatch(), Origin(source="page", sent_by=caller.name, user_id=caller.user.pk))
    note(request, tasks=len(done.ids), batch=str(done.batch_id))
    messages.success(request, f"{len(done.ids)} tasks sent.")
    return answer(request, "tasks:overview")


def come_again(error: RateLimitedError) -> str:
    """Say when tasks may be sent again; where scripts run, static/js/page.js counts the seconds down."""
    return format_html(
        "You may send tasks {} times in {} s. Nothing was sent now; you can go on in "
        '<span data-countdown aria-live="off">{}</span> s.',
        error.limit, error.window, error.retry_after,
    )  # fmt: skip
