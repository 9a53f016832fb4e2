"""The tables of notifications, of who has read them, and of their deliveries."""

from typing import Final

from django.conf import settings
from django.db import models
from django.db.models import Q

from zenith_site.notify.kinds import Channel, NotificationKind, Severity

SEVERITIES: Final = [severity.value for severity in Severity]
CHANNELS: Final = [channel.value for channel in Channel]


class Notification(models.Model):
    """One occurrence of a condition, from its detection to its end.

    `key` identifies the condition within its kind (a worker's name, a queue's, a fingerprint). All times are PostgreSQL's.
    """

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=20, help_text="A value of kinds.Kind.")
    key = models.CharField(max_length=255, blank=True, default="")
    severity = models.CharField(max_length=8, choices=list(zip(SEVERITIES, SEVERITIES, strict=True)))
    title = models.CharField(max_length=300)
    body = models.CharField(max_length=1000, blank=True, default="")
    link = models.TextField(help_text="The page of its cause, as a path of this site.")
    opened_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    count = models.PositiveIntegerField(default=1, help_text="How many failures, or how often it came back before it was over.")
    recovered_at = models.DateTimeField(null=True, blank=True)
    recovery = models.CharField(max_length=300, blank=True, default="", help_text="How it ended.")

    class Meta:
        ordering = ("-id",)
        default_permissions = ()
        constraints = (
            # watch.py: if several engines detect a condition at the same time, one opens the notification.
            models.UniqueConstraint(fields=("kind", "key"), condition=Q(recovered_at=None), name="notification_one_open"),
            models.CheckConstraint(condition=Q(severity__in=SEVERITIES), name="notification_severity_known"),
        )
        indexes = (
            # inbox.py: one kind, newest first.
            models.Index(fields=("kind", "-id"), name="notification_kind"),
        )

    def __str__(self) -> str:
        return self.title

    @property
    def kind_label(self) -> str:
        """The name of the kind for display."""
        return NotificationKind(self.kind).label

    @property
    def over(self) -> bool:
        """Whether the condition has ended."""
        return self.recovered_at is not None

    @property
    def seconds(self) -> float | None:
        """How long the condition held, once it is over."""
        return None if self.recovered_at is None else (self.recovered_at - self.opened_at).total_seconds()


class Reading(models.Model):
    """A user's mark that they have read a notification."""

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    notification = models.ForeignKey(Notification, on_delete=models.CASCADE, related_name="readings")
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ()
        constraints = (
            # inbox.py: marking is idempotent; a user's unread notifications.
            models.UniqueConstraint(fields=("notification", "user"), name="reading_once"),
        )

    def __str__(self) -> str:
        return f"{self.user_id} read {self.notification_id}"


class Step(models.TextChoices):
    """The step of a notification that a delivery is about."""

    OPENED = "opened", "opened"
    RECOVERED = "recovered", "recovered"


class DeliveryState(models.TextChoices):
    """The state of a delivery."""

    WAITING = "waiting", "Waiting"
    SENT = "sent", "Sent"
    SKIPPED = "skipped", "Skipped"
    GIVEN_UP = "given-up", "Given up"

    @property
    def sentence(self) -> str:
        """What the state means."""
        return _STATES[self]


_STATES = {
    DeliveryState.WAITING: "It is waiting for the throttle, or for the next attempt.",
    DeliveryState.SENT: "The receiver accepted it.",
    DeliveryState.SKIPPED: "It was over before it could be sent, or its channel is no longer configured.",
    DeliveryState.GIVEN_UP: "The receiver did not accept it for a day.",
}


class Delivery(models.Model):
    """The delivery of a notification's beginning or end through one channel.

    Deliveries in one message share its id, `message`, which is the same in every attempt, so that a receiver can recognize a
    repetition. `due_at` is also the claim of the engine that sends it: the engine advances it before the attempt.
    """

    id = models.BigAutoField(primary_key=True)
    notification = models.ForeignKey(Notification, on_delete=models.CASCADE, related_name="deliveries")
    channel = models.CharField(max_length=8, choices=[(channel.value, channel.label) for channel in Channel])
    step = models.CharField(max_length=9, choices=Step)
    state = models.CharField(max_length=8, choices=DeliveryState, default=DeliveryState.WAITING)
    created_at = models.DateTimeField()
    due_at = models.DateTimeField()
    message = models.UUIDField(null=True, blank=True)
    begun_at = models.DateTimeField(null=True, blank=True, help_text="When it was first tried; the throttle counts from here.")
    attempts = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True, default="", help_text="Why the newest attempt failed.")

    class Meta:
        ordering = ("id",)
        default_permissions = ()
        constraints = (
            # watch.py: one delivery per channel and step.
            models.UniqueConstraint(fields=("notification", "channel", "step"), name="delivery_once"),
            models.CheckConstraint(condition=Q(channel__in=CHANNELS), name="delivery_channel_known"),
            models.CheckConstraint(
                condition=Q(message=None, begun_at=None) | Q(message__isnull=False, begun_at__isnull=False), name="delivery_begun"
            ),
        )
        indexes = (
            # outbox.py: what is due.
            models.Index(fields=("due_at",), name="delivery_due", condition=Q(state=DeliveryState.WAITING)),
            # outbox.py: the newest message of a channel, for the throttle; inbox.py: the channel's state.
            models.Index(fields=("channel", "begun_at"), name="delivery_channel"),
        )

    def __str__(self) -> str:
        return f"{self.step} by {self.channel}: {self.state}"
