"""A task's arguments as anybody may see them: what stands under a secret's name is hidden, and as much of them as is wanted."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast, Left

from tasks_app import catalog
from tasks_app.models import Task
from zenith_site.common.masking import mask, mask_positional
from zenith_site.common.previews import SHOWN, head_length, read_head, shorten


class Arguments(NamedTuple):
    """What a task was sent with; `cut` names which of the two is longer than what is here."""

    args: list[Any]
    kwargs: dict[str, Any]
    cut: frozenset[str] = frozenset()


NO_ARGUMENTS: Final = Arguments([], {})


def shown_arguments(task: Task) -> Arguments:
    """Return a task's arguments with their secrets hidden, also those sent by position to a parameter with a secret's name."""
    return Arguments(mask_positional(task.args, positional_names(task.name)), mask(task.kwargs))


def with_heads(tasks: QuerySet[Task], limit: int = SHOWN) -> QuerySet[Task]:
    """Have a query read so much of the arguments that `preview` can show `limit` characters of each, however long they are."""
    heads = {f"{name}_head": Left(Cast(name, TextField()), head_length(limit) + 1) for name in ("args", "kwargs")}
    return tasks.defer("args", "kwargs").annotate(**heads)


def preview(task: Task, limit: int = SHOWN) -> Arguments:
    """Return the beginning of a task's arguments, with their secrets hidden; best of a task that came `with_heads`."""
    args, args_cut = _begin(task, "args", limit)
    kwargs, kwargs_cut = _begin(task, "kwargs", limit)
    cut = frozenset(name for name, is_cut in (("args", args_cut), ("kwargs", kwargs_cut)) if is_cut)
    return Arguments(mask_positional(args, positional_names(task.name)), mask(kwargs), cut)


def _begin(task: Task, name: str, limit: int) -> tuple[Any, bool]:
    head: str | None = getattr(task, f"{name}_head", None)
    value, is_head = (getattr(task, name), False) if head is None else read_head(head, head_length(limit))
    shown, is_cut = shorten(value, limit)
    return shown, is_head or is_cut


def positional_names(task_name: str) -> Sequence[str]:
    """Return what a task calls the arguments that are sent by position, as far as it is known."""
    entry = catalog.entries().get(task_name)
    return [] if entry is None else entry.positional_names
