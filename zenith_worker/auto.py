"""Attaches the worker that loads this module: `celery -A shop worker -I zenith_worker.auto`, with ZENITH_URL in its environment.

Without ZENITH_URL the worker runs as if this were not there. A wrong value stops its start and says which it is.
"""

import logging
import os
from contextlib import suppress

from billiard import current_process
from celery import current_app, signals

from zenith_worker.attachment import URL, attach

logger = logging.getLogger(__name__)


def _attach_worker() -> None:
    try:
        name = attach(current_app._get_current_object())
    except ValueError as error:
        raise SystemExit(f"zenith_worker: {error}") from None
    logger.info("Attached to Zenith as %s.", name)


def _attach_child(**_: object) -> None:
    # Of the worker's values, none is wrong: the application's own code may have attached this process already.
    with suppress(ValueError):
        attach(current_app._get_current_object())


if not os.environ.get(URL):
    logger.warning("%s is not set: this worker is not attached to Zenith.", URL)
elif current_process().name == "MainProcess":
    _attach_worker()
else:
    # A pool's process that is spawned loads its modules in any order, perhaps this one before the application's, and only then
    # has the worker's app.
    signals.worker_process_init.connect(_attach_child, weak=False)
