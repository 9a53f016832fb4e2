"""Applications: Celery apps that somebody runs."""

from __future__ import annotations

from collections.abc import Set
from typing import ClassVar, Final

from django.core.validators import RegexValidator
from django.db import models

from zenith_worker.wire.applications import NAME, NATIVE_NAME, is_name
from zenith_worker.wire.keys import NATIVE

#: The key of the row of Zenith's own application, which its migration inserts.
NATIVE_ID: Final = 1


#: The names of the applications that a caller may see (`Caller.applications`); None for all.
Visible = Set[str] | None


class Kind(models.TextChoices):
    """How an application is joined to Zenith."""

    NATIVE = "native", "Native"
    ATTACHED = "attached", "Attached"
    WATCHED = "watched", "Watched"


class Application(models.Model):
    """A Celery app that somebody runs: Zenith's own, one whose workers report to Zenith (`zenith_worker.attach`), or one that
    Zenith watches through its broker (tasks_app/watching).

    A task's identity is its application and Celery's id; two applications may both have a task, a queue or a worker of the same
    name.
    """

    Kind: ClassVar = Kind

    id = models.SmallAutoField(primary_key=True)
    name = models.CharField(
        max_length=50, unique=True, validators=[RegexValidator(rf"^{NAME}\Z")],
        help_text="Lower-case letters, digits, and hyphens between them.",
    )  # fmt: skip
    kind = models.CharField(max_length=8, choices=Kind)
    main = models.CharField(max_length=255, blank=True, default="", help_text="The main name of the Celery app.")
    celery_version = models.CharField(max_length=50, blank=True, default="", help_text="As its newest process announced it.")
    python_version = models.CharField(max_length=50, blank=True, default="")
    isolated = models.BooleanField(
        default=False, db_default=False, help_text="It has a Redis user of its own, which may write nothing else."
    )
    first_heard_at = models.DateTimeField(null=True, blank=True, help_text="When a process of it first announced itself.")
    last_heard_at = models.DateTimeField(null=True, blank=True)

    # Of a watched one.
    broker = models.TextField(
        blank=True, default="", db_default="", editable=False,
        help_text="Its broker's URL, encrypted (tasks_app/watching/brokers.py). Empty if it is not watched any more.",
    )  # fmt: skip
    key_prefix = models.CharField(
        max_length=100, blank=True, default="", db_default="", help_text="What all of its keys in its Redis begin with."
    )
    serializers = models.CharField(
        max_length=50, blank=True, default="json", db_default="json",
        help_text="What its workers write and accept, separated by commas; Zenith writes the first.",
    )  # fmt: skip
    enables_events = models.BooleanField(
        default=True, db_default=True, help_text="Whether Zenith asks its workers to send events."
    )
    listened_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="When an observer last listened.")
    gaps = models.JSONField(
        default=list, db_default=[], blank=True, editable=False,
        help_text="When nobody listened, newest first: lists of two Unix times in seconds and a reason.",
    )  # fmt: skip

    class Meta:
        ordering = ("id",)
        constraints = (models.CheckConstraint(condition=models.Q(kind__in=Kind.values), name="application_kind_known"),)

    def __str__(self) -> str:
        return self.name

    @classmethod
    def native(cls) -> Application:
        """Return Zenith's own application, without a query."""
        return cls(id=NATIVE_ID, name=NATIVE_NAME, kind=Kind.NATIVE)

    @classmethod
    def named(cls, name: str) -> Application | None:
        """Return the application with a name, or None; one query, and none for Zenith's own."""
        if name == NATIVE_NAME:
            return cls.native()
        return cls.objects.filter(name=name).first() if is_name(name) else None

    @property
    def is_native(self) -> bool:
        """Whether its tasks run in Zenith's own workers: only those are repaired, and sent by Zenith itself."""
        return self.pk == NATIVE_ID

    @property
    def is_watched(self) -> bool:
        """Whether Zenith only listens to what its workers tell everybody."""
        return self.kind == Kind.WATCHED

    @property
    def key_name(self) -> str:
        """Its name in Redis keys and for task keys (zenith_worker/wire/keys.py)."""
        return NATIVE if self.is_native else self.name


def of_application(name: str, field: str = "application") -> models.Q:
    """Return the condition that rows belong to the application with this name; `field` is the relation that leads to it.

    An attached application's key is read once for the whole query. The indexes for those leave out Zenith's own rows, and the
    planner does not know that the key is another one, so the condition says so.
    """
    if name == NATIVE_NAME:
        return models.Q(**{field: NATIVE_ID})
    ids = Application.objects.filter(name=name).order_by().values("id")
    return models.Q(**{field: models.Subquery(ids)}) & ~models.Q(**{field: NATIVE_ID})


def of_visible(visible: Visible, field: str = "application") -> models.Q:
    """Return the condition that rows belong to an application that a caller may see; as `of_application`."""
    if visible is None:
        return models.Q()
    ids = Application.objects.filter(name__in=sorted(visible)).order_by().values("id")
    condition = models.Q(**{f"{field}__in": models.Subquery(ids)})
    return condition if NATIVE_NAME in visible else condition & ~models.Q(**{field: NATIVE_ID})
