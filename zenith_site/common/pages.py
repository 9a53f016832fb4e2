"""The responses of pages: a whole page, its fragments, a question, or the result of an action.

1. `render_page` returns the page; for htmx and live updates only its fragments, each of which replaces the element with its id.
2. `confirm` asks before a destructive action, `ask` for an action's input: on a page of its own, or in the open page's dialog.
3. `answer` ends an action: it redirects back, or shows toasts on the open page, which then reloads its fragments.

docs/pages.md has examples.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.shortcuts import redirect, render, resolve_url
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags, url_has_allowed_host_and_scheme

#: What differs between two renderings of the same state: CSRF tokens, and relative times.
_VOLATILE: Final = re.compile(r'(?<=name="csrfmiddlewaretoken" value=")[^"]*|(<time[^>]*\sdata-relative[^>]*>)[^<]*')


def wants_fragments(request: HttpRequest) -> bool:
    """Whether the response goes into a page that is already open."""
    htmx = getattr(request, "htmx", None)
    return bool(htmx) and not getattr(htmx, "history_restore_request", False)


def render_page(
    request: HttpRequest,
    template: str,
    context: Mapping[str, Any],
    *,
    fragments: Sequence[str],
    status: int = 200,
) -> HttpResponse:
    """Return a page, or its fragments for a page that is already open.

    `fragments` are templates whose root element has an id; with `oob` set, they render `hx-swap-oob="true"` on it. The response
    has a weak ETag over the fragments' content, so a page that asks again gets 304 if nothing changed.
    """
    if not wants_fragments(request):
        response = render(request, template, dict(context), status=status)
    else:
        parts = {**context, "oob": True}
        html = "".join(render_to_string(fragment, parts, request) for fragment in fragments)
        etag = _etag(html)
        if status == 200 and etag in parse_etags(request.headers.get("If-None-Match", "")):
            response = HttpResponseNotModified()
        else:
            response = HttpResponse(html, status=status)
        response["ETag"] = etag
    patch_vary_headers(response, ["HX-Request"])
    return response


def confirm(
    request: HttpRequest,
    *,
    title: str,
    sentence: str,
    action: str,
    button: str,
    back: str,
    fields: Iterable[tuple[str, object]] = (),
    danger: bool = True,
) -> HttpResponse:
    """Ask for confirmation before an action, in the open page's dialog or, without JavaScript, on a page of its own.

    Args:
        title: the action as a short question: "Discard dead letters?".
        sentence: its effect, with the count: "37 dead letters are discarded; their tasks stay."
        action: the URL that the form is posted to.
        button: the verb on the button: "Discard 37".
        back: the page to return to, as a URL or a URL's name; `next` in the query has precedence.
        fields: hidden fields of the form, as pairs; a name may occur more than once.
        danger: whether the button is styled as dangerous.
    """
    context = {
        "title": title, "sentence": sentence, "action": action, "button": button,
        "back": back_to(request, back), "fields": list(fields), "danger": danger,
    }  # fmt: skip
    return render_page(request, "confirm.html", context, fragments=["_confirm.html"])


def ask(
    request: HttpRequest,
    form: BaseForm,
    *,
    title: str,
    sentence: str,
    action: str,
    button: str,
    back: str,
    fields: Iterable[tuple[str, object]] = (),
    danger: bool = False,
) -> HttpResponse:
    """Ask for an action's input, like `confirm`. A bound form is one with errors, which it shows (422)."""
    context = {
        "title": title, "sentence": sentence, "action": action, "button": button, "form": form,
        "back": back_to(request, back), "fields": list(fields), "danger": danger,
    }  # fmt: skip
    return render_page(request, "ask.html", context, fragments=["_ask.html"], status=422 if form.is_bound else 200)


def answer(
    request: HttpRequest,
    back: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    leave: bool = False,
) -> HttpResponse:
    """Return the response to an action whose result is in Django's messages.

    Without JavaScript this redirects to `back` (a URL or a URL's name; a posted `next` has precedence). With htmx the messages
    appear as toasts and the open page reloads its fragments, unless `leave` sends it to `back` as well. `status` and `headers`
    apply to htmx only.
    """
    target = back_to(request, back)
    if not wants_fragments(request):
        return redirect(target)
    if leave:
        return HttpResponse(headers={"HX-Redirect": target})
    response = render(request, "_toasts.html", {"oob": True}, status=status)
    response["HX-Trigger"] = "zenith:changed"
    for name, value in (headers or {}).items():
        response[name] = value
    return response


def back_to(request: HttpRequest, default: str) -> str:
    """Return the request's `next` if it is a page of this site, else `default` (a URL or a URL's name)."""
    next_url = request.POST.get("next") or request.GET.get("next") or ""
    if url_has_allowed_host_and_scheme(next_url, {request.get_host()}, require_https=request.is_secure()):
        return next_url
    return resolve_url(default)


def _etag(html: str) -> str:
    content = _VOLATILE.sub(r"\1", html)
    return f'W/"{blake2b(content.encode(), digest_size=12).hexdigest()}"'
