"""A task's arguments as anybody may see them: what stands under a secret's name is hidden."""

from typing import Any, NamedTuple

from tasks_app import catalog
from tasks_app.models import Task
from zenith_site.common.masking import mask, mask_positional


class Arguments(NamedTuple):
    """What a task was sent with."""

    args: list[Any]
    kwargs: dict[str, Any]


def shown_arguments(task: Task) -> Arguments:
    """Return a task's arguments with their secrets hidden, also those sent by position to a parameter with a secret's name."""
    entry = catalog.entries().get(task.name)
    names = [] if entry is None else entry.positional_names
    return Arguments(mask_positional(task.args, names), mask(task.kwargs))
