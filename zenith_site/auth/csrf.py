"""What is said where Django's check against forged requests (CSRF) refuses one.

Mostly a page was open for too long. But behind a proxy that ends TLS, Zenith may not know the address that people type: then
every form is refused, the login's first of all, and it is a setting that mends it. Django's reason tells the two apart.

Whoever is refused need not be logged in, and may come from a page of another site that means harm: the answer holds the name of a
setting and the origin that came with the request, and no setting where the browser says that it comes from another site.
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
#: Origins that the log of the process names at most; strangers choose them.
_MOST_TOLD: Final = 20
_told: set[str] = set()


class Mismatch(NamedTuple):
    """A form that came from an origin which is not known as this site's.

    Attributes:
        origin: such as `https://zenith.example.com`; empty where none can be named.
        foreign: the browser says that another site sent it.
        forwarded: a proxy says that it was called with https, and is not believed.
    """

    origin: str
    foreign: bool = False
    forwarded: bool = False

    @property
    def settings(self) -> tuple[str, ...]:
        """What to set, if the origin is this site's own address: either of these."""
        if self.foreign or not self.origin:
            return ()
        return (f"{TRUSTED}={self.origin}", *((f"{HTTPS}=true",) if self.forwarded else ()))


def failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a request that the check refused (Django's CSRF_FAILURE_VIEW)."""
    mismatch = find_mismatch(request, reason)
    detail = explain(mismatch)
    refuse(request, "The form's origin is not known." if mismatch else "The form has expired, or its cookie was missing.")
    request.csrf_failure = detail  # type: ignore[attr-defined]
    if mismatch is not None and mismatch.settings:
        _tell(mismatch)
    if problems.is_for_program(request):
        return problems.render(problems.Answer(HTTPStatus.FORBIDDEN, detail))
    return render(request, "403_csrf.html", {"mismatch": mismatch}, status=HTTPStatus.FORBIDDEN)


def find_mismatch(request: HttpRequest, reason: str) -> Mismatch | None:
    """Return where the form came from, if that is why it was refused; None where it expired."""
    came_from = _refused_origin(request, reason)
    if came_from is None:
        return None
    shown = came_from.lower() if _ORIGIN.fullmatch(came_from.lower()) else ""
    foreign = request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none")
    forwarded = request.headers.get("X-Forwarded-Proto", "").lower() == "https" and not request.is_secure()
    return Mismatch(shown, foreign, forwarded and shown == f"https://{request.get_host()}".lower())


def _refused_origin(request: HttpRequest, reason: str) -> str | None:
    """Return the origin that Django did not know, in what was sent as `Origin` or else as `Referer`."""
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
            "The CSRF token is missing or has expired. Nothing was done. Read the page again; its token goes into `X-CSRFToken`."
        )
    came = f"The request came from {mismatch.origin or 'an origin that cannot be named'}, which is not known as this site (CSRF)."
    if not mismatch.settings:
        return f"{came} Nothing was done."
    return f"{came} If that is its address, set {' or '.join(mismatch.settings)}. Nothing was done."


def _tell(mismatch: Mismatch) -> None:
    """Tell the operator once for each origin."""
    if mismatch.origin not in _told and len(_told) < _MOST_TOLD:
        _told.add(mismatch.origin)
        logger.warning(
            "Forms from %s are refused, since it is not known as this site. If it is its address: %s (docs/security.md)",
            mismatch.origin,
            " or ".join(mismatch.settings),
        )
