"""The columns of the task list, which a person chooses; the choice is in the page's address."""

from typing import Final, NamedTuple

from django.http import QueryDict


class Column(NamedTuple):
    """A column that can be chosen. `sort` is the order that its head gives, if it can be sorted by."""

    key: str
    label: str
    sort: str = ""
    right: bool = False


#: All of them, in the order in which they stand. The task's name and status always stand before them.
COLUMNS: Final = (
    Column("arguments", "Arguments"),
    Column("queue", "Queue", "queue"),
    Column("worker", "Worker", "worker"),
    Column("application", "Application"),
    Column("priority", "Priority", right=True),
    Column("attempts", "Attempts", "attempts", right=True),
    Column("runtime", "Runtime", "runtime", right=True),
    Column("created", "Sent", "created"),
    Column("started", "Started"),
    Column("finished", "Ended"),
)
#: Those that are shown if none are chosen.
DEFAULT: Final = ("arguments", "queue", "worker", "application", "runtime", "created")
PARAMETER: Final = "columns"


def chosen_columns(parameters: QueryDict) -> tuple[str, ...]:
    """Return the keys of the columns that an address names, repeated as forms send them or separated by commas.

    Unknown ones are left out; if none is left, it is the default.
    """
    named = {key for text in parameters.getlist(PARAMETER)[: len(COLUMNS)] for key in text[:200].split(",")}
    return tuple(column.key for column in COLUMNS if column.key in named) or DEFAULT


def columns_query(chosen: tuple[str, ...]) -> dict[str, str]:
    """Return the parameter of an address that shows these columns; none for the default."""
    return {} if chosen == DEFAULT else {PARAMETER: ",".join(chosen)}


def shown_columns(chosen: tuple[str, ...], *, several_applications: bool) -> list[Column]:
    """Return the columns to draw; that of the application only if there are several."""
    return [column for column in COLUMNS if column.key in chosen and (column.key != "application" or several_applications)]
