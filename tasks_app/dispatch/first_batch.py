"""The first batch of a new installation: ten tasks on the project's own documents."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import UUID

from django.conf import settings

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.dispatch.samples import SAMPLE_TEXTS
from tasks_app.models import Task
from zenith_worker.wire.states import TERMINAL

COUNT: Final = 10
#: Seconds to wait for the whole batch.
PATIENCE: Final = 60.0


def first_batch() -> Iterator[str]:
    """Dispatch the batch; yield a line for each task that finishes, and one if some do not finish in time.

    Raises what dispatch() raises.
    """
    batch = dispatch(Dispatch(task="analyze_text", data=own_texts()), Origin(source="command", sent_by="first start"))
    unfinished = set(batch.ids)
    deadline = time.monotonic() + PATIENCE
    while unfinished and time.monotonic() < deadline:
        for task in Task.objects.filter(id__in=unfinished, status__in=TERMINAL).order_by("finished_at"):
            unfinished.discard(task.id)
            yield _line(task, len(batch.ids) - len(unfinished), len(batch.ids))
        time.sleep(0.05)
    if unfinished:
        yield f"{len(unfinished)} of {len(batch.ids)} tasks have not finished yet; the Overview shows what they wait for"


def own_texts() -> list[str]:
    """Return the ten longest sections of README, CHANGELOG and docs/, and sample texts if there are fewer."""
    root = Path(settings.ZENITH_RESOURCES)
    documents = [*sorted(root.glob("*.md")), *sorted((root / "docs").glob("*.md"))]
    sections = [part.strip() for path in documents for part in path.read_text("utf-8").split("\n## ")]
    longest = sorted(filter(None, sections), key=len, reverse=True)[:COUNT]
    return [*longest, *SAMPLE_TEXTS[: COUNT - len(longest)]]


def _line(task: Task, number: int, total: int) -> str:
    runtime = "" if task.runtime is None else f" in {task.runtime * 1000:.1f} ms"
    error = f": {task.error_type}: {task.error_message}" if task.error_type else ""
    return f"{number:2}/{total} {short(task.id)} {task.name} {task.status}{runtime}{error}"


def short(task_id: UUID) -> str:
    """Shorten an id to the part in which the tasks of one batch differ."""
    return f"…{str(task_id)[-12:]}"
