"""The engine's loop that carries out replay runs.

1. In one transaction a run is locked, a chunk of its letters is replayed (replay.py), and its progress is stored, so an
   engine that dies half way has done nothing. Any number of engines share the runs without waiting for each other.
2. With `first`, only that many letters are replayed at the beginning. The run then watches their tasks: if all succeed, it
   goes on; if one does not, it stops and says why.
3. With `rate`, a chunk is what half a second allows, and the next chunk waits accordingly.
"""

import logging
import threading
from collections import Counter
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone

from tasks_app.dispatch.create import Origin
from tasks_app.dispatch.replay import AT_ONCE, Replay, replay_letters, replayable_letters
from tasks_app.models import ReplayRun, Task
from tasks_app.models.replay_run import ACTIVE, RunState
from zenith_site.common import faults
from zenith_site.common.faults import is_unreachable
from zenith_site.common.loops import repeat
from zenith_worker.wire.states import Status

logger = logging.getLogger(__name__)

#: Seconds between two passes.
LOOK_EVERY: Final = 0.5


def run(stop: threading.Event) -> None:
    """Carry out replay runs until `stop` is set."""
    repeat(stop, "replays", step, every=LOOK_EVERY)


def step() -> bool:
    """Advance one run that is due; return whether there was one. Raises django.db.Error."""
    with transaction.atomic():
        due_runs = ReplayRun.objects.filter(state__in=ACTIVE, next_at__lte=timezone.now())
        run = due_runs.select_for_update(skip_locked=True).order_by("next_at").first()
        if run is None:
            return False
        try:
            with transaction.atomic():
                _advance(run)
        except Exception as error:
            if is_unreachable(error):
                raise
            faults.record_fault("replays", error, f"run {run.id}")
            run.refresh_from_db()
            _end(run, RunState.STOPPED, f"An unexpected error occurred: {type(error).__name__}: {error}"[:300])
        run.save()
    return True


def _advance(run: ReplayRun) -> None:
    if run.state == RunState.WATCHING:
        _check_first(run)
    else:
        _replay_chunk(run)


def _check_first(run: ReplayRun) -> None:
    """Go on or stop once the tasks that were replayed first have ended."""
    statuses = Counter(Task.objects.filter(id__in=run.first_ids).values_list("status", flat=True))
    first = len(run.first_ids)
    # A row that was deleted cannot succeed any more.
    unsuccessful = statuses[Status.FAILURE] + statuses[Status.REVOKED] + first - statuses.total()
    if unsuccessful:
        _end(run, RunState.STOPPED, f"{unsuccessful} of the first {first} did not succeed; the rest was not replayed.")
    elif statuses[Status.SUCCESS] == first:
        run.state = RunState.RUNNING
    else:
        run.next_at = timezone.now() + timedelta(seconds=LOOK_EVERY)


def _replay_chunk(run: ReplayRun) -> None:
    """Replay the next chunk of a run, or end the run."""
    is_first_chunk = run.first > 0 and not run.first_ids
    size = run.first if is_first_chunk else AT_ONCE
    if run.rate and not is_first_chunk:
        size = min(size, max(1, int(run.rate * LOOK_EVERY)))
    letters = replayable_letters(run.selection, forced=run.forced).filter(id__gt=run.cursor, id__lte=run.newest)
    replacements = replay_letters(letters, Replay(selection=run.selection, kwargs=run.kwargs), _origin(run), size)
    if not replacements:
        _end(run, RunState.DONE, "")
        return
    run.cursor = max(item.letter for item in replacements)
    run.replayed += len(replacements)
    if is_first_chunk:
        run.first_ids = [item.new for item in replacements]
        run.state = RunState.WATCHING
    run.next_at = timezone.now() + timedelta(seconds=len(replacements) / run.rate if run.rate else 0)


def _end(run: ReplayRun, state: RunState, reason: str) -> None:
    run.state, run.reason, run.finished_at = state, reason, timezone.now()
    logger.info("Replay %s: %s %s", run.id, state.sentence, reason)


def _origin(run: ReplayRun) -> Origin:
    return Origin(source=run.source, sent_by=run.sent_by, user_id=run.user_id)
