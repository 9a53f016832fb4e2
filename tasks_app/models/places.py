"""Where a task stands in lists, which are newest first: by the time of its creation and, of equal times, by its id.

An id alone would not do: those of other programs' tasks, and of what a canvas sends, do not follow the time.
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
#: How a cursor is written: base64, for which no byte has to be filled up.
CURSOR_PATTERN: Final = r"^([A-Za-z0-9_-]{32})?$"


class Place(NamedTuple):
    """A task's place; of two, the greater is the newer one, here as in PostgreSQL."""

    created_at: datetime
    id: UUID

    @classmethod
    def first_at(cls, moment: datetime) -> Self:
        """Return the first place of a moment."""
        return cls(moment, UUID(int=0))

    @classmethod
    def last_at(cls, moment: datetime) -> Self:
        """Return the last place of a moment."""
        return cls(moment, UUID(int=2**128 - 1))

    @classmethod
    def of_cursor(cls, cursor: str) -> Self:
        """Return the place that a page's cursor names. Raises ValueError for a text that is no cursor."""
        try:
            packed = base64.b64decode(cursor, altchars=b"-_", validate=True)
            since = int.from_bytes(packed[:_TIME_SIZE], signed=True)
            return cls(_EPOCH + since * _MICROSECOND, UUID(bytes=packed[_TIME_SIZE:]))
        except (ValueError, OverflowError, binascii.Error):
            raise ValueError("is not a cursor from an earlier page") from None

    @property
    def cursor(self) -> str:
        """The text that names this place in an address."""
        since = (self.created_at - _EPOCH) // _MICROSECOND
        return base64.urlsafe_b64encode(since.to_bytes(_TIME_SIZE, signed=True) + self.id.bytes).decode()


OLDEST: Final = Place.first_at(datetime.min.replace(tzinfo=UTC))
NEWEST: Final = Place.last_at(datetime.max.replace(tzinfo=UTC))


def older(place: Place) -> RawSQL:
    """Return the condition, for queries of Task, that a row's place is before another's; along an index."""
    sql = "(tasks_app_task.created_at, tasks_app_task.id) < (%s, %s)"
    return RawSQL(sql, place, output_field=BooleanField())  # noqa: S611 -- no input is in it
