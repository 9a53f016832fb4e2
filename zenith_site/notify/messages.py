"""The content of a message: a subject and text for people, and JSON for programs."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.conf import settings

from zenith_site.common.humanize import duration
from zenith_site.common.site_paths import page_path
from zenith_site.notify.kinds import NotificationKind
from zenith_site.notify.models import Notification, Step

#: Notifications that a message for people lists at most.
MOST_NAMED: Final = 10
TEST: Final = Step.TEST.value


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """One message through one channel, about the beginning or the end of one or more notifications of a kind.

    `id` is unique to the message, and the same in every attempt. `step` is a value of Step, or TEST.
    """

    id: UUID
    step: str
    notifications: list[Notification]

    @property
    def subject(self) -> str:
        """The message in one line."""
        if self.step == TEST:
            return "Test: notifications arrive"
        first = self.notifications[0]
        count = len(self.notifications)
        # A line break would end a mail's subject.
        subject = " ".join(first.title.split()) if count == 1 else f"{NotificationKind(first.kind).label} ({count})"
        return f"Recovered: {subject}" if self.step == Step.RECOVERED else subject

    @property
    def lines(self) -> list[str]:
        """The paragraphs of the message's text."""
        if self.step == TEST:
            return [f"This is a test of this channel, sent by Zenith at {public_url('/')}."]
        paragraphs = [_paragraph(notification) for notification in self.notifications[:MOST_NAMED]]
        if (more := len(self.notifications) - MOST_NAMED) > 0:
            paragraphs.append(f"… and {more} more: {public_url(page_path('notifications'))}")
        return paragraphs

    @property
    def severity(self) -> str:
        """The severity, which is the same for all notifications of one kind."""
        return self.notifications[0].severity if self.notifications else "info"

    def payload(self) -> dict[str, Any]:
        """Return the message as JSON types."""
        return {
            "type": f"notification.{self.step}",
            "id": str(self.id),
            "data": {"notifications": [as_json(notification) for notification in self.notifications]},
        }

    def body(self) -> bytes:
        """Return the message as JSON; the same state gives the same bytes."""
        return json.dumps(self.payload(), separators=(",", ":"), sort_keys=True).encode()


def public_url(path: str) -> str:
    """Return the public URL of a page; `path` begins below the site's root."""
    return settings.ZENITH_PUBLIC_URL + path


def as_json(notification: Notification) -> dict[str, Any]:
    """Return a notification as JSON types."""
    return {
        "id": notification.id, "kind": notification.kind, "key": notification.key, "severity": notification.severity,
        "title": notification.title, "body": notification.body, "url": public_url(notification.link),
        "count": notification.count, "opened_at": _moment(notification.opened_at),
        "recovered_at": _moment(notification.recovered_at), "recovery": notification.recovery,
    }  # fmt: skip


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def _paragraph(notification: Notification) -> str:
    text = notification.body
    if notification.over:
        text = f"{notification.recovery} It lasted {duration(notification.seconds)}."
    times = f" ({notification.count:,} times)" if notification.count > 1 else ""
    return f"{notification.title}{times}\n{text}\n{public_url(notification.link)}"
