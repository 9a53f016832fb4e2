"""One value of a task in full, with secrets masked, for those who saw only its beginning."""

import re
from typing import Any, Final

from django.db.models import TextField
from django.db.models.functions import Cast, Length
from django_celery_results.models import TaskResult

from tasks_app.models import Attempt, Task
from tasks_app.models.task import result_id
from tasks_app.queries.arguments import positional_names, shown_arguments
from tasks_app.queries.tasks import value_of
from zenith_site.common.masking import mask_text
from zenith_worker.wire.states import Status

#: The names of values. `arguments` are all arguments, by name as far as names are known. `traceback` is that of the newest run;
#: other runs' are `traceback-NESTING-ATTEMPT-DELIVERY`.
NAMES: Final = ("arguments", "args", "kwargs", "result", "error", "traceback")
#: Values that are plain text and not JSON.
TEXTS: Final = ("error", "traceback")
_RUN: Final = re.compile(r"traceback-(\d{1,9})-(\d{1,9})-(\d{1,9})")


def whole(task: Task, name: str) -> Any:
    """Return a value of a task by its name. Raises LookupError if there is none."""
    if name in ("args", "kwargs"):
        return getattr(shown_arguments(task), name)
    if name == "arguments":
        return by_name(task, *shown_arguments(task)[:2])
    if name == "error" and task.error_type:
        return f"{task.error_type}: {mask_text(task.error_message)}"
    if name == "result" and task.status == Status.SUCCESS:
        text = TaskResult.objects.filter(task_id=result_id(task.id, task.text_id)).values_list("result", flat=True).first()
        return value_of(text)[0]
    if (text := _traceback(task, name)) is not None:
        return mask_text(text)
    raise LookupError(name)


def _traceback(task: Task, name: str) -> str | None:
    rows = Attempt.objects.filter(task=task).exclude(traceback="").order_by("-nesting", "-attempt", "-delivery")
    if run := _RUN.fullmatch(name):
        nesting, attempt, delivery = map(int, run.groups())
        rows = rows.filter(nesting=nesting, attempt=attempt, delivery=delivery)
    elif name != "traceback":
        return None
    return rows.values_list("traceback", flat=True).first()


def by_name(task: Task, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Return arguments by name if all names are known, else as args and kwargs; an empty object if there are none."""
    named = {**dict(zip(positional_names(task), args, strict=False)), **kwargs}
    return named if len(named) == len(args) + len(kwargs) else {"args": args, "kwargs": kwargs}


def sizes(task: Task) -> dict[str, int]:
    """Return how many characters of JSON a task's arguments and its result have, in two queries."""
    lengths = {name: Length(Cast(name, TextField())) for name in ("args", "kwargs")}
    args, kwargs = Task.objects.filter(pk=task.pk).values_list(*lengths.values()).get()
    key = result_id(task.id, task.text_id)
    result = TaskResult.objects.filter(task_id=key).values_list(Length("result"), flat=True).first()
    return {"arguments": args + kwargs, "args": args, "kwargs": kwargs, "result": result or 0}
