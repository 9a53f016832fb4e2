"""How every page answers: whole, in fragments, with a question, or with what came of an action.

1. `render_page` sends the page, or to htmx and to live updates only its fragments; each replaces
   the element that has its id.
2. `confirm` asks before a destructive action, `ask` for what an action needs: a page of its own, or in the page's dialog.
3. `answer` ends an action: back to where it was started, or with toasts beside the page that is
   still open, whose fragments are then read again.

docs/pages.md shows them at work.
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

#: What differs between two renderings of the same state: tokens against forgery, and times as words.
_VOLATILE: Final = re.compile(r'(?<=name="csrfmiddlewaretoken" value=")[^"]*|(<time[^>]*\sdata-relative[^>]*>)[^<]*')


def wants_fragments(request: HttpRequest) -> bool:
    """Whether the answer goes into a page that is open already."""
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
    """Return a page, or its fragments for a page that is open.

    `fragments` are templates whose root element has an id; they are rendered with `oob` set, upon
    which the root carries `hx-swap-oob="true"`. They get an ETag over what they say (a weak one: it
    says so little of the bytes), so a page that asks again hears 304 where nothing changed.
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
    """Ask before an action: the page's dialog shows the fragment, a browser without script the page.

    Args:
        title: what is about to be done, as a short question: "Discard dead letters?".
        sentence: what that means, with the count: "37 dead letters are discarded; their tasks stay."
        action: the URL that the answer is posted to.
        button: the verb on the button: "Discard 37".
        back: the page to return to, as a URL or a URL's name; `next` in the query goes before it.
        fields: hidden fields of the form, as pairs; a name may come more than once.
        danger: whether the button warns.
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
    """Ask before an action for what it needs, as `confirm` does; a form that is bound has been refused, and says why (422)."""
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
    """End an action whose outcome is in Django's messages.

    Without script this is a redirect to `back` (a URL or a URL's name; a posted `next` goes before
    it). With htmx the messages appear as toasts and the open page reads its fragments again, unless
    `leave` sends it to `back` as well. `status` and `headers` count for htmx only.
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
    """Return the page of this site that the request's `next` names, else `default` (a URL or a URL's name)."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    if url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure()):
        return wanted
    return resolve_url(default)


def _etag(html: str) -> str:
    said = _VOLATILE.sub(r"\1", html)
    return f'W/"{blake2b(said.encode(), digest_size=12).hexdigest()}"'
