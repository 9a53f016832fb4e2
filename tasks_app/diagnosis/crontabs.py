"""When a crontab of beat's is due next, as Celery reads it: day of the month, month and weekday must all match."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from celery.schedules import ParseException, crontab
from django.utils import timezone

#: Days that are looked at: the 29th of February is once in eight years at worst.
_DAYS: Final = 8 * 366 + 1


def due_seconds(text: str, zone: str, now: datetime | None = None) -> float | None:
    """Return in how many seconds a crontab is due next, by its five fields in cron's order and its time zone's name.

    None if there is no crontab, it cannot be read, or it is never due.
    """
    if not text:
        return None
    try:
        local = (now or timezone.now()).astimezone(ZoneInfo(zone or "UTC"))
        return next((at - local).total_seconds() for at in _times(_parsed(text), local))
    except (ValueError, TypeError, KeyError, OSError, ParseException, StopIteration):
        return None


def _times(schedule: crontab, after: datetime) -> Iterator[datetime]:
    minutes = [(hour, minute) for hour in sorted(schedule.hour) for minute in sorted(schedule.minute)]
    for day in (after.date() + timedelta(days=number) for number in range(_DAYS)):
        if _is_on(schedule, day):
            for hour, minute in minutes:
                at = datetime(day.year, day.month, day.day, hour, minute, tzinfo=after.tzinfo)
                if at > after:
                    yield at


def _is_on(schedule: crontab, day: date) -> bool:
    return (
        day.month in schedule.month_of_year and day.day in schedule.day_of_month and day.isoweekday() % 7 in schedule.day_of_week
    )


@lru_cache(maxsize=500)
def _parsed(text: str) -> crontab:
    minute, hour, day, month, weekday = text.split()
    return crontab(minute, hour, weekday, day, month)
