"""The channels as the outbox and the pages see them: those of the environment, and those that administrators made on the page.

Only an engine reads the addresses of the latter (`open_row`); everybody else knows their names, kinds and what they get.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.conf import settings

from zenith_site.common.encryption import DecryptionError, decrypt
from zenith_site.notify.kinds import Channel, NotificationKind, Severity
from zenith_site.notify.models import NotificationChannel
from zenith_site.notify.routes import Route

#: Channels made on the page at most.
MAX_CHANNELS: Final = 50
#: The setting with each channel's address.
ADDRESSES: Final = {
    Channel.EMAIL: "ZENITH_NOTIFY_EMAIL", Channel.SLACK: "ZENITH_NOTIFY_SLACK_URL", Channel.WEBHOOK: "ZENITH_NOTIFY_WEBHOOK_URL",
}  # fmt: skip


class UnreadableAddressError(Exception):
    """A channel's address cannot be read with this process's secret key."""


@dataclass(frozen=True, slots=True)
class ChannelView:
    """A channel, without its address.

    Attributes:
        key: names it in rules and deliveries.
        from_environment: whether the environment sets it up; then no page changes it.
        gets: what it gets besides what rules send to it.
    """

    key: str
    name: str
    kind: Channel
    from_environment: bool
    gets: Route

    @property
    def label(self) -> str:
        """The name for display, with the kind if the name does not say it."""
        return self.name if self.from_environment else f"{self.name} ({self.kind.label})"


@dataclass(frozen=True, slots=True, repr=False)
class Destination:
    """Where a message goes. Its representation shows nothing: the address may be a secret.

    Attributes:
        addresses: e-mail addresses, or one URL.
        secret: signs the messages of a webhook.
        entered: whether a page entered it; such a message reaches no address inside the operator's network (egress.py).
    """

    kind: Channel
    addresses: tuple[str, ...]
    secret: str = ""
    entered: bool = False

    def __repr__(self) -> str:
        return f"Destination({self.kind})"


def purpose_of(id_: UUID) -> str:
    """Return what the address of a row with this id is encrypted for."""
    return f"the notification channel {id_}"


def sealable(addresses: Iterable[str], secret: str) -> str:
    """Return an address as the text that is encrypted."""
    return json.dumps({"addresses": list(addresses), "secret": secret})


def of_environment() -> list[ChannelView]:
    """Return the channels that the environment sets up."""
    configured = [channel for channel in Channel if getattr(settings, ADDRESSES[channel])]
    return [ChannelView(kind.value, kind.label, kind, True, settings.ZENITH_NOTIFY_ROUTES[kind]) for kind in configured]


def view_of(row: NotificationChannel) -> ChannelView:
    """Return a channel that was made on the page."""
    return ChannelView(row.key, row.name, Channel(row.kind), False, Route(Severity(row.least) if row.least else None))


def all_channels() -> list[ChannelView]:
    """Return all channels, those of the environment first; one query."""
    return [*of_environment(), *map(view_of, NotificationChannel.objects.all()[:MAX_CHANNELS])]


def takers(kind: NotificationKind, severity: Severity) -> list[str]:
    """Return the keys of the channels that get a notification of this kind and severity, without any rule; one query."""
    return [channel.key for channel in all_channels() if channel.gets.takes(kind, severity)]


def environment_destination(kind: Channel) -> Destination:
    """Return where the environment's channel of a kind leads."""
    address = getattr(settings, ADDRESSES[kind])
    secret = settings.ZENITH_NOTIFY_WEBHOOK_SECRET if kind is Channel.WEBHOOK else ""
    return Destination(kind, tuple(address) if kind is Channel.EMAIL else (address,), secret)


def find_destination(key: str) -> Destination:
    """Return where the channel with this key leads. Raises UnreadableAddressError, or NotificationChannel.DoesNotExist."""
    if key in list(Channel):
        return environment_destination(Channel(key))
    return open_row(NotificationChannel.objects.get(id=UUID(key)))


def open_row(row: NotificationChannel) -> Destination:
    """Return where a channel that was made on the page leads. Raises UnreadableAddressError."""
    try:
        content = json.loads(decrypt(row.sealed, purpose_of(row.id)))
    except DecryptionError as error:
        raise UnreadableAddressError(f"The channel's address cannot be read: {error}. Enter it again.") from None
    return Destination(Channel(row.kind), tuple(content["addresses"]), content["secret"], entered=True)
