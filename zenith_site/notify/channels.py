"""The channels of notifications: e-mail, a Slack-compatible webhook, and a signed webhook (standardwebhooks.com).

Redirects are not followed, and only the status of a response is kept. What a page entered reaches only public addresses and hosts
that the operator has named (egress.py). So nobody can use a channel to explore a network.
"""

import json
import smtplib
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from email.utils import parseaddr
from http.client import HTTPException
from typing import Final, cast

from django.conf import settings
from django.core.mail import EmailMessage

from zenith_site.notify.destinations import Destination
from zenith_site.notify.egress import GuardedHTTP, GuardedHTTPS
from zenith_site.notify.kinds import Channel
from zenith_site.notify.messages import OutgoingMessage
from zenith_site.notify.signing import signature
from zenith_site.version import VERSION

#: Seconds that a receiver has to accept a connection, and for each part of its response.
TIMEOUT: Final = 10.0
_SIGNS: Final = {"critical": "🔴", "warning": "🟠", "info": "🔵"}


class SendError(Exception):
    """A receiver did not accept a message; the text says why, without any secret.

    `retry_after` is the number of seconds until the next attempt, if the receiver gave one.
    """

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


def send(to: Destination, message: OutgoingMessage) -> None:
    """Send a message to where a channel leads. Raises SendError."""
    _SENDERS[to.kind](to, message)


def _email(to: Destination, message: OutgoingMessage) -> None:
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "zenith"
    mail = EmailMessage(
        subject=f"[Zenith] {message.subject}",
        body="\n\n".join(message.lines),
        to=list(to.addresses),
        # Mail servers recognize a repeated message by its id.
        headers={"Message-ID": f"<{message.id}@{domain}>", "Auto-Submitted": "auto-generated"},
    )
    try:
        mail.send()
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise SendError(_reason(error)) from error


def _slack(to: Destination, message: OutgoingMessage) -> None:
    sign = "🟢" if message.step == "recovered" else _SIGNS[message.severity]
    text = "\n".join([f"{sign} *{_escaped(message.subject)}*", *map(_escaped, message.lines)])
    _post(to, json.dumps({"text": text}).encode(), {"Idempotency-Key": str(message.id)})


def _webhook(to: Destination, message: OutgoingMessage) -> None:
    body = message.body()
    moment = int(time.time())
    headers = {
        "Webhook-Id": str(message.id),
        "Webhook-Timestamp": str(moment),
        "Webhook-Signature": signature(to.secret, str(message.id), moment, body),
    }
    _post(to, body, headers)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Do not follow redirects: the operator sets the address, not the receiver."""


_opener: Final = urllib.request.build_opener(_NoRedirect)
_guarded_opener: Final = urllib.request.build_opener(_NoRedirect, GuardedHTTP, GuardedHTTPS)


def _post(to: Destination, body: bytes, headers: Mapping[str, str]) -> None:
    opener = _guarded_opener if to.entered else _opener
    request = urllib.request.Request(  # noqa: S310 -- settings and forms take http and https only
        to.addresses[0], body, {"Content-Type": "application/json", "User-Agent": f"Zenith/{VERSION}", **headers}, method="POST"
    )
    try:
        with opener.open(request, timeout=TIMEOUT):
            pass
    except urllib.error.HTTPError as error:
        error.close()
        redirected = " (redirects are not followed)" if error.code in range(300, 400) else ""
        raise SendError(f"HTTP {error.code}{redirected}", _retry_after(error.headers.get("Retry-After"))) from error
    except (OSError, HTTPException, ValueError) as error:
        raise SendError(_reason(error)) from error


def _retry_after(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 6 else None


def _reason(error: Exception) -> str:
    """Return what went wrong. Errors of the mail and HTTP libraries may name the address, but never the message."""
    cause = cast(Exception, error.reason) if isinstance(error, urllib.error.URLError) else error
    return f"{type(cause).__name__}: {cause}"[:300] if isinstance(cause, Exception) else str(cause)[:300]


def _escaped(text: str) -> str:
    """Escape the markup of Slack's links and mentions."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_SENDERS: Final[Mapping[Channel, Callable[[Destination, OutgoingMessage], None]]] = {
    Channel.EMAIL: _email, Channel.SLACK: _slack, Channel.WEBHOOK: _webhook,
}  # fmt: skip
