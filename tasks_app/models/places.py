"""A task's place in lists, which are newest first: by its time of creation and, if equal, by its id.

An id alone is not enough: the ids of other programs' tasks, and of a canvas, do not follow the time.
"""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, Self
from uuid import UUID

from django.db.models import BooleanField
from django.db.models.expressions import RawSQL

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
#: Bytes of a cursor: microseconds since 1970, and an id.
_TIME_SIZE: Final = 8
#: The bits of an id that a blurred place leaves out: too many to guess, few enough that tasks which share all others are rare.
_BLUR: Final = 2**32 - 1
#: How a cursor is written: base64 without padding.
CURSOR_PATTERN: Final = r"^([A-Za-z0-9_-]{32})?$"


class Place(NamedTuple):
    """A task's place; the greater of two is the newer one, here and in PostgreSQL."""

    created_at: datetime
    id: UUID

    @classmethod
    def first_at(cls, moment: datetime) -> Self:
        """Return the oldest place at a time."""
        return cls(moment, UUID(int=0))

    @classmethod
    def last_at(cls, moment: datetime) -> Self:
        """Return the newest place at a time."""
        return cls(moment, UUID(int=2**128 - 1))

    @classmethod
    def of_cursor(cls, cursor: str) -> Self:
        """Parse a page's cursor. Raises ValueError if it is not one."""
        try:
            packed = base64.b64decode(cursor, altchars=b"-_", validate=True)
            since = int.from_bytes(packed[:_TIME_SIZE], signed=True)
            return cls(_EPOCH + since * _MICROSECOND, UUID(bytes=packed[_TIME_SIZE:]))
        except (ValueError, OverflowError, binascii.Error):
            raise ValueError("is not a cursor from an earlier page") from None

    @property
    def blurred(self) -> Self:
        """Return a place that is hardly newer and does not tell the id, for who may not see the task at this one.

        The time alone will not do: any number of tasks may be created at the same, and a list has to get past them.
        """
        return self._replace(id=UUID(int=self.id.int | _BLUR))

    @property
    def cursor(self) -> str:
        """This place as text for a URL."""
        since = (self.created_at - _EPOCH) // _MICROSECOND
        return base64.urlsafe_b64encode(since.to_bytes(_TIME_SIZE, signed=True) + self.id.bytes).decode()


OLDEST: Final = Place.first_at(datetime.min.replace(tzinfo=UTC))
NEWEST: Final = Place.last_at(datetime.max.replace(tzinfo=UTC))


def older(place: Place) -> RawSQL:
    """Return the condition, for queries of Task, that a row is older than a place; it uses an index."""
    sql = "(tasks_app_task.created_at, tasks_app_task.id) < (%s, %s)"
    return RawSQL(sql, place, output_field=BooleanField())  # noqa: S611 -- no input is in it
