"""The tables of notifications, of who has read them, and of their deliveries."""

from datetime import datetime
from typing import Final
from uuid import uuid4

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone

from zenith_site.notify.kinds import BUILT_IN, Channel, NotificationKind, Severity, Subject

SEVERITIES: Final = [severity.value for severity in Severity]
SUBJECTS: Final = [subject.value for subject in Subject]
CHANNELS: Final = [channel.value for channel in Channel]
#: What names a channel: a value of Channel for one that the environment sets up, or the id of one that was made on the page.
_CHANNEL_KEY: Final = 36


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
    muted_until = models.DateTimeField(
        null=True, blank=True, help_text="Until then it rings no bell and sends nothing, also if the condition comes back."
    )

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

    @property
    def muted(self) -> bool:
        """Whether it is muted at the moment."""
        return is_future(self.muted_until)


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
    TEST = "test", "test"


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
    """The delivery of a notification's beginning or end, or of a test without a notification, through one channel.

    Deliveries in one message share its id, `message`, which is the same in every attempt, so that a receiver can recognize a
    repetition. `due_at` is also the claim of the engine that sends it: the engine advances it before the attempt.
    """

    id = models.BigAutoField(primary_key=True)
    notification = models.ForeignKey(Notification, on_delete=models.CASCADE, related_name="deliveries", null=True)
    channel = models.CharField(max_length=_CHANNEL_KEY, help_text="What names the channel; see CHANNELS.")
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
            models.CheckConstraint(
                condition=Q(step="test", notification=None) | (~Q(step="test") & Q(notification__isnull=False)),
                name="delivery_test_has_no_notification",
            ),
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


class NotificationChannel(models.Model):
    """A channel that an administrator made on the page. Those that the environment sets up have no row.

    Only engines can read where it leads: web seals the address with their public key (zenith_site/common/engine_secrets.py).
    """

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    name = models.CharField(max_length=60, unique=True)
    kind = models.CharField(max_length=8, choices=[(channel.value, channel.label) for channel in Channel])
    sealed = models.TextField(editable=False, help_text="Its address, and a webhook's secret: a JSON object, encrypted.")
    least = models.CharField(
        max_length=8, blank=True, default="", choices=list(zip(SEVERITIES, SEVERITIES, strict=True)),
        help_text="It gets everything of at least this severity. Empty: only what rules send to it.",
    )  # fmt: skip
    created_by = models.CharField(max_length=150, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("name",)
        default_permissions = ()
        constraints = (models.CheckConstraint(condition=Q(kind__in=CHANNELS), name="notification_channel_kind_known"),)

    def __str__(self) -> str:
        return self.name

    @property
    def key(self) -> str:
        """What names it in rules and deliveries."""
        return str(self.id)


class NotificationRule(models.Model):
    """A rule that people made on the page: what opens a notification, how severe it is, and where it is sent.

    `subject` says which filters and numbers count (kinds.py: Subject); the others are empty. Patterns: `*` stands for any text.
    """

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(max_length=100)
    subject = models.CharField(max_length=20, choices=[(subject.value, subject.label) for subject in Subject])
    task = models.CharField(max_length=255, blank=True, default="", help_text="A pattern for the names of tasks.")
    queue = models.CharField(max_length=255, blank=True, default="", help_text="A pattern for the names of queues.")
    worker = models.CharField(max_length=255, blank=True, default="", help_text="A pattern for the names of workers.")
    error_type = models.CharField(max_length=255, blank=True, default="", help_text="A pattern for the types of errors.")
    fingerprint = models.CharField(max_length=32, blank=True, default="")
    application = models.CharField(max_length=50, blank=True, default="", help_text="A name; empty for all applications.")
    kind = models.CharField(max_length=20, blank=True, default="", choices=[(kind.value, kind.label) for kind in BUILT_IN])
    threshold = models.PositiveIntegerField(default=0, help_text="More than this many; of a share, at least this many tasks.")
    share = models.PositiveSmallIntegerField(default=0, help_text="More than this many of a hundred.")
    minutes = models.PositiveSmallIntegerField(default=5)
    severity = models.CharField(max_length=8, choices=list(zip(SEVERITIES, SEVERITIES, strict=True)))
    channels = ArrayField(models.CharField(max_length=_CHANNEL_KEY), default=list, blank=True)
    muted_until = models.DateTimeField(null=True, blank=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_by = models.CharField(max_length=150, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("id",)
        default_permissions = ()
        constraints = (
            models.CheckConstraint(condition=Q(subject__in=SUBJECTS), name="notification_rule_subject_known"),
            models.CheckConstraint(condition=Q(severity__in=SEVERITIES), name="notification_rule_severity_known"),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def muted(self) -> bool:
        """Whether it is muted at the moment."""
        return is_future(self.muted_until)


def is_future(moment: datetime | None) -> bool:
    """Whether a moment is still to come."""
    return moment is not None and moment > timezone.now()
