"""The ways out: e-mail, a Slack-compatible webhook, and a webhook that is signed as standardwebhooks.com has it.

Where a message goes is what the operator's environment says and nothing else; no page and no API sets it, redirects are not
followed, and of an answer only the status is kept, so none of this can be used to look into a network.
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

from zenith_site.notify.kinds import Channel
from zenith_site.notify.messages import OutgoingMessage
from zenith_site.notify.signing import signature
from zenith_site.version import VERSION

#: Seconds that a receiver has to accept a connection, and for each part of its answer.
TIMEOUT: Final = 10.0
_SIGNS: Final = {"critical": "🔴", "warning": "🟠", "info": "🔵"}


class SendError(Exception):
    """A receiver did not take a message; its text says why, without any secret.

    `retry_after` is how many seconds the receiver wants to be left alone, where it said so.
    """

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


def send(channel: Channel, message: OutgoingMessage) -> None:
    """Send a message through a channel that is set. Raises SendError."""
    _SENDERS[channel](message)


def configured() -> list[Channel]:
    """Return the channels that are set."""
    return [channel for channel in Channel if getattr(settings, ADDRESSES[channel])]


def _email(message: OutgoingMessage) -> None:
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "zenith"
    mail = EmailMessage(
        subject=f"[Zenith] {message.subject}",
        body="\n\n".join(message.lines),
        to=settings.ZENITH_NOTIFY_EMAIL,
        # A mail server that gets it twice shows it once.
        headers={"Message-ID": f"<{message.id}@{domain}>", "Auto-Submitted": "auto-generated"},
    )
    try:
        mail.send()
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise SendError(_reason(error)) from error


def _slack(message: OutgoingMessage) -> None:
    sign = "🟢" if message.step == "recovered" else _SIGNS[message.severity]
    text = "\n".join([f"{sign} *{_escaped(message.subject)}*", *map(_escaped, message.lines)])
    _post(settings.ZENITH_NOTIFY_SLACK_URL, json.dumps({"text": text}).encode(), {"Idempotency-Key": str(message.id)})


def _webhook(message: OutgoingMessage) -> None:
    body = message.body()
    moment = int(time.time())
    headers = {
        "Webhook-Id": str(message.id),
        "Webhook-Timestamp": str(moment),
        "Webhook-Signature": signature(settings.ZENITH_NOTIFY_WEBHOOK_SECRET, str(message.id), moment, body),
    }
    _post(settings.ZENITH_NOTIFY_WEBHOOK_URL, body, headers)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Follow none: the address is the operator's word, not the receiver's."""


_opener: Final = urllib.request.build_opener(_NoRedirect)


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    request = urllib.request.Request(  # noqa: S310 -- the setting takes http and https only
        url, body, {"Content-Type": "application/json", "User-Agent": f"Zenith/{VERSION}", **headers}, method="POST"
    )
    try:
        with _opener.open(request, timeout=TIMEOUT):
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
    """Say what went wrong; an error of the mail or HTTP library names the address at most, never what was sent."""
    cause = cast(Exception, error.reason) if isinstance(error, urllib.error.URLError) else error
    return f"{type(cause).__name__}: {cause}"[:300] if isinstance(cause, Exception) else str(cause)[:300]


def _escaped(text: str) -> str:
    """Escape what Slack takes for links and mentions."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_SENDERS: Final[Mapping[Channel, Callable[[OutgoingMessage], None]]] = {
    Channel.EMAIL: _email, Channel.SLACK: _slack, Channel.WEBHOOK: _webhook,
}  # fmt: skip
#: The setting that says where each channel leads.
ADDRESSES: Final = {
    Channel.EMAIL: "ZENITH_NOTIFY_EMAIL", Channel.SLACK: "ZENITH_NOTIFY_SLACK_URL", Channel.WEBHOOK: "ZENITH_NOTIFY_WEBHOOK_URL",
}  # fmt: skip
