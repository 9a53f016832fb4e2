"""Make, change and remove the channels of the page. Nothing here returns or raises an address, which may be a secret."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from django.db import IntegrityError, connection, transaction

from zenith_site.common.advisory_locks import AdvisoryLock
from zenith_site.common.callers import Caller
from zenith_site.common.engine_secrets import seal_for_engines
from zenith_site.common.errors import InvalidInputError, Problem, StateConflictError
from zenith_site.common.live_updates import refresh_pages
from zenith_site.env import MAIL, is_webhook
from zenith_site.notify.destinations import MAX_CHANNELS, purpose_of, sealable
from zenith_site.notify.egress import is_allowed_host, is_refused
from zenith_site.notify.kinds import Channel
from zenith_site.notify.models import Delivery, NotificationChannel, NotificationRule
from zenith_site.notify.signing import ACCEPTED_SECRET, is_signing_secret

#: Addresses of one e-mail channel at most.
MAX_ADDRESSES: Final = 20
MAX_URL: Final = 2000
_ASCII: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ChannelRequest:
    """A channel as somebody describes it; an empty `address` keeps the stored one. Its representation shows nothing."""

    name: str
    kind: Channel
    address: str = ""
    secret: str = ""
    least: str = ""

    def __repr__(self) -> str:
        return "ChannelRequest(…)"


def save_channel(caller: Caller, body: ChannelRequest, row: NotificationChannel | None = None) -> NotificationChannel:
    """Make a channel, or change one. Raises InvalidInputError or StateConflictError, as without an engine's public key."""
    addresses = check(body, needs_address=row is None)
    is_new = row is None
    row = row or NotificationChannel(kind=body.kind.value, created_by=caller.name[:150])
    row.name, row.least = body.name, body.least
    if addresses:
        row.sealed = seal_for_engines(sealable(addresses, body.secret), purpose_of(row.id))
    try:
        with transaction.atomic():
            if is_new:
                _require_place()
            row.save(force_insert=is_new)
    except IntegrityError:
        raise InvalidInputError(Problem("/name", "is the name of another channel")) from None
    refresh_pages("notifications")
    return row


def remove_channel(row: NotificationChannel) -> None:
    """Remove a channel, also from the rules that send to it. What still waits for it is skipped."""
    with transaction.atomic():
        for rule in rules_with(row.key):
            rule.channels = [key for key in rule.channels if key != row.key]
            rule.save(update_fields=["channels", "changed_at"])
        Delivery.objects.filter(channel=row.key, notification=None).delete()
        row.delete()
    refresh_pages("notifications")


def rules_with(key: str) -> list[NotificationRule]:
    """Return the rules that send to a channel."""
    return list(NotificationRule.objects.filter(channels__contains=[key]))


def check(body: ChannelRequest, *, needs_address: bool) -> list[str]:
    """Return the addresses of a channel; none if the stored ones stay. Raises InvalidInputError."""
    address = body.address.strip()
    if not address and not needs_address:
        if body.secret:
            raise InvalidInputError(Problem("/address", "Enter the URL as well: both are stored together."))
        return []
    addresses = [part.strip() for part in address.split(",") if part.strip()] if body.kind is Channel.EMAIL else [address]
    problems = [Problem("/address", reason)] if (reason := _why_not(body.kind, addresses)) else []
    if body.kind is Channel.WEBHOOK and not is_signing_secret(body.secret):
        problems.append(Problem("/secret", f"takes {ACCEPTED_SECRET}"))
    if problems:
        raise InvalidInputError(*problems)
    return addresses


def _why_not(kind: Channel, addresses: list[str]) -> str:
    if kind is Channel.EMAIL:
        fits = 0 < len(addresses) <= MAX_ADDRESSES and all(MAIL.match(one) and len(one) <= 254 for one in addresses)
        return "" if fits else f"takes 1 to {MAX_ADDRESSES} addresses such as ops@example.com, with commas in between"
    (url,) = addresses
    if len(url) > MAX_URL or not _ASCII.fullmatch(url) or not is_webhook(url):
        return "takes an address without a login, such as https://hooks.example.com/zenith"
    host = urlsplit(url).hostname or ""
    if not is_allowed_host(host) and (host == "localhost" or _is_refused_literal(host)):
        return "leads into the operator's network. ZENITH_NOTIFY_HOSTS must name its host before."
    return ""


def _is_refused_literal(host: str) -> bool:
    try:
        return is_refused(host)
    except ValueError:
        return False


def _require_place() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [AdvisoryLock.NOTIFICATION_RULES])
    if NotificationChannel.objects.count() >= MAX_CHANNELS:
        raise StateConflictError(f"There are {MAX_CHANNELS} channels; that is the most.")
