"""The response to a request that Django's CSRF check refused.

Usually a page was open for too long. But behind a proxy that terminates TLS, Zenith may not know its own public address: then
every form is refused, the login first of all, and a setting fixes it. Django's reason tells the two cases apart.

The client need not be logged in, and may come from a malicious page of another site: the response holds no more than the origin
that came with the request and the name of a setting, and no setting if the browser says that another site sent the request.
"""

import logging
import re
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import REASON_BAD_ORIGIN, REASON_BAD_REFERER, REASON_INSECURE_REFERER
from django.shortcuts import render

from zenith_site import problems
from zenith_site.common.callers import refuse

logger = logging.getLogger(__name__)

TRUSTED: Final = "ZENITH_CSRF_TRUSTED_ORIGINS"
HTTPS: Final = "ZENITH_HTTPS"
#: What may be set as an origin, and so may be shown as one.
_ORIGIN: Final = re.compile(r"https?://(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?")
#: Origins that the process logs at most: clients choose them.
_MAX_LOGGED: Final = 20
_logged_origins: set[str] = set()


class Mismatch(NamedTuple):
    """A form that came from an origin that is not trusted as this site's own.

    Attributes:
        origin: such as `https://zenith.example.com`; empty if the request has no valid one.
        foreign: the browser says that another site sent it.
        forwarded: a proxy says that it was called with https, but is not trusted.
    """

    origin: str
    foreign: bool = False
    forwarded: bool = False

    @property
    def settings(self) -> tuple[str, ...]:
        """Return the settings of which one makes the origin trusted, if it is this site's own address."""
        if self.foreign or not self.origin:
            return ()
        return (f"{TRUSTED}={self.origin}", *((f"{HTTPS}=true",) if self.forwarded else ()))


def failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a request that the check refused (Django's CSRF_FAILURE_VIEW)."""
    mismatch = find_mismatch(request, reason)
    detail = explain(mismatch)
    refuse(request, "The form's origin is not trusted." if mismatch else "The form has expired, or its cookie was missing.")
    request.csrf_failure = detail  # type: ignore[attr-defined]
    if mismatch is not None and mismatch.settings:
        _log_once(mismatch)
    if problems.is_for_program(request):
        return problems.render(problems.Answer(HTTPStatus.FORBIDDEN, detail))
    return render(request, "403_csrf.html", {"mismatch": mismatch}, status=HTTPStatus.FORBIDDEN)


def find_mismatch(request: HttpRequest, reason: str) -> Mismatch | None:
    """Return where the form came from, if that is why it was refused; None if it expired."""
    refused_origin = _refused_origin(request, reason)
    if refused_origin is None:
        return None
    origin = refused_origin.lower() if _ORIGIN.fullmatch(refused_origin.lower()) else ""
    foreign = request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none")
    forwarded = request.headers.get("X-Forwarded-Proto", "").lower() == "https" and not request.is_secure()
    return Mismatch(origin, foreign, forwarded and origin == f"https://{request.get_host()}".lower())


def _refused_origin(request: HttpRequest, reason: str) -> str | None:
    """Return the origin that Django refused, from the header `Origin` or else `Referer`."""
    origin = request.META.get("HTTP_ORIGIN")
    if origin is not None:
        return origin if reason == REASON_BAD_ORIGIN % origin else None
    try:
        parts = urlsplit(request.META.get("HTTP_REFERER", ""))
    except ValueError:
        return None
    return (
        f"{parts.scheme}://{parts.netloc}" if reason in (REASON_INSECURE_REFERER, REASON_BAD_REFERER % parts.geturl()) else None
    )


def explain(mismatch: Mismatch | None) -> str:
    """Return what happened and what to do, for programs and logs."""
    if mismatch is None:
        return (
            "The CSRF token is missing or has expired. Nothing was changed. Load the page again and send its token as "
            "`X-CSRFToken`."
        )
    problem = f"The request came from {mismatch.origin or 'an unknown origin'}, which is not a trusted origin (CSRF)."
    if not mismatch.settings:
        return f"{problem} Nothing was changed."
    return f"{problem} If this is Zenith's own address, set {' or '.join(mismatch.settings)}. Nothing was changed."


def _log_once(mismatch: Mismatch) -> None:
    """Log the mismatch once for each origin."""
    if mismatch.origin not in _logged_origins and len(_logged_origins) < _MAX_LOGGED:
        _logged_origins.add(mismatch.origin)
        logger.warning(
            "Forms from %s are refused: it is not a trusted origin. If it is Zenith's own address, set %s (docs/security.md)",
            mismatch.origin,
            " or ".join(mismatch.settings),
        )
