"""The engine's loop that works off replays of many dead letters.

1. A run is locked, a chunk of its letters is replayed (replay.py), and how far it is is noted, in
   one transaction: an engine that dies half way has done nothing. Any number of engines share the
   runs; none waits for another's.
2. With `first`, only so many are replayed at the beginning. The run then watches their tasks: all
   succeed, and it goes on; one does not, and it stops and says why.
3. With `rate`, a chunk is as small as fits into half a second, and the next one waits its turn.
"""

import logging
import threading
from collections import Counter
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone

from tasks_app.dispatch.create import Origin
from tasks_app.dispatch.replay import AT_ONCE, Replay, matching, replay_letters
from tasks_app.models import ReplayRun, Task
from tasks_app.models.replay_run import ACTIVE, RunState
from zenith_site.common import faults
from zenith_site.common.faults import is_away
from zenith_site.common.loops import repeat
from zenith_worker.wire.states import Status

logger = logging.getLogger(__name__)

#: Seconds between two looks.
LOOK_EVERY: Final = 0.5


def run(stop: threading.Event) -> None:
    """Work off runs until `stop` is set."""
    repeat(stop, "replays", step, every=LOOK_EVERY)


def step() -> bool:
    """Take one run that is due a bit further; return whether there was one. Raises django.db.Error."""
    with transaction.atomic():
        due = ReplayRun.objects.filter(state__in=ACTIVE, next_at__lte=timezone.now())
        found = due.select_for_update(skip_locked=True).order_by("next_at").first()
        if found is None:
            return False
        try:
            with transaction.atomic():
                _take_further(found)
        except Exception as error:
            if is_away(error):
                raise
            faults.record_fault("replays", error, f"run {found.id}")
            found.refresh_from_db()
            _end(found, RunState.STOPPED, f"An unexpected error occurred: {type(error).__name__}: {error}"[:300])
        found.save()
    return True


def _take_further(run: ReplayRun) -> None:
    if run.state == RunState.WATCHING:
        _watch(run)
    else:
        _go_on(run)


def _watch(run: ReplayRun) -> None:
    """Look what became of the first few."""
    statuses = Counter(Task.objects.filter(id__in=run.first_ids).values_list("status", flat=True))
    first = len(run.first_ids)
    # A row that is gone cannot succeed any more.
    unsuccessful = statuses[Status.FAILURE] + statuses[Status.REVOKED] + first - statuses.total()
    if unsuccessful:
        _end(run, RunState.STOPPED, f"{unsuccessful} of the first {first} did not succeed; the rest was not replayed.")
    elif statuses[Status.SUCCESS] == first:
        run.state = RunState.RUNNING
    else:
        run.next_at = timezone.now() + timedelta(seconds=LOOK_EVERY)


def _go_on(run: ReplayRun) -> None:
    """Replay one chunk."""
    begins = run.first > 0 and not run.first_ids
    size = run.first if begins else AT_ONCE
    if run.rate and not begins:
        size = min(size, max(1, int(run.rate * LOOK_EVERY)))
    letters = matching(run.selection, forced=run.forced).filter(id__gt=run.cursor, id__lte=run.newest)
    done = replay_letters(letters, Replay(which=run.selection, kwargs=run.kwargs), _origin(run), size)
    if not done:
        _end(run, RunState.DONE, "")
        return
    run.cursor = max(item.letter for item in done)
    run.replayed += len(done)
    if begins:
        run.first_ids = [item.new for item in done]
        run.state = RunState.WATCHING
    run.next_at = timezone.now() + timedelta(seconds=len(done) / run.rate if run.rate else 0)


def _end(run: ReplayRun, state: RunState, reason: str) -> None:
    run.state, run.reason, run.finished_at = state, reason, timezone.now()
    logger.info("Replay %s: %s. %s", run.id, state.sentence, reason)


def _origin(run: ReplayRun) -> Origin:
    return Origin(source=run.source, sent_by=run.sent_by, user_id=run.user_id)
