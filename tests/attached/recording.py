"""What an engine does for attached applications, step by step in the test's own process."""

from __future__ import annotations

import threading

from tasks_app.maintenance.applications import take_in
from tasks_app.recording.recorder import Recorder
from zenith_worker.wire import stream


def record() -> bool:
    """Take in the applications that announced themselves, and record what there is; for `eventually`, always true."""
    stream.ensure_group()
    take_in()
    recorder = Recorder(threading.Event())
    while recorder.step(block=0.05):
        pass
    return True
