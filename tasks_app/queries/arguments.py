"""A task's arguments for display: secrets are masked, and long values are cut."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast, Left

from tasks_app import catalog
from tasks_app.models import Task
from zenith_site.common.masking import mask, mask_positional
from zenith_site.common.previews import SHOWN, head_length, read_head, shorten


class Arguments(NamedTuple):
    """A task's arguments; `cut` names those of the two that are longer than what is here."""

    args: list[Any]
    kwargs: dict[str, Any]
    cut: frozenset[str] = frozenset()


NO_ARGUMENTS: Final = Arguments([], {})


def shown_arguments(task: Task) -> Arguments:
    """Return a task's arguments with secrets masked, including positional ones whose parameter has a secret's name."""
    return Arguments(mask_positional(task.args, positional_names(task)), mask(task.kwargs))


def masked_arguments(args: list[Any], kwargs: dict[str, Any], names: Sequence[str], limit: int = SHOWN) -> Arguments:
    """Return the beginning of arguments that are in no row, with secrets masked; `names`: of the positional parameters."""
    (shown_args, args_cut), (shown_kwargs, kwargs_cut) = shorten(args, limit), shorten(kwargs, limit)
    cut = frozenset(name for name, is_cut in (("args", args_cut), ("kwargs", kwargs_cut)) if is_cut)
    return Arguments(mask_positional(shown_args, names), mask(shown_kwargs), cut)


def with_heads(tasks: QuerySet[Task], limit: int = SHOWN) -> QuerySet[Task]:
    """Make a query read only as much of the arguments as `preview` needs to show `limit` characters of each."""
    heads = {f"{name}_head": Left(Cast(name, TextField()), head_length(limit) + 1) for name in ("args", "kwargs")}
    return tasks.defer("args", "kwargs").annotate(**heads)


def preview(task: Task, limit: int = SHOWN) -> Arguments:
    """Return the beginning of a task's arguments with secrets masked; cheapest for a task read `with_heads`."""
    args, args_cut = _head(task, "args", limit)
    kwargs, kwargs_cut = _head(task, "kwargs", limit)
    cut = frozenset(name for name, is_cut in (("args", args_cut), ("kwargs", kwargs_cut)) if is_cut)
    return Arguments(mask_positional(args, positional_names(task)), mask(kwargs), cut)


def _head(task: Task, name: str, limit: int) -> tuple[Any, bool]:
    head: str | None = getattr(task, f"{name}_head", None)
    value, is_head = (getattr(task, name), False) if head is None else read_head(head, head_length(limit))
    shown, is_cut = shorten(value, limit)
    return shown, is_head or is_cut


def positional_names(task: Task) -> Sequence[str]:
    """Return the names of a task's positional parameters, or none if its application's catalogue does not have it."""
    entry = catalog.known_entry(task.name, task.application_id)
    return [] if entry is None else entry.positional_names
