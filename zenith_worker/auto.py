"""Attaches the worker that loads this module: `celery -A shop worker -I zenith_worker.auto`, with ZENITH_URL in its environment.

Without ZENITH_URL the worker runs as if this were not there. A wrong value stops its start and says which it is.
"""

import logging
import os

from celery import current_app

from zenith_worker.attachment import URL, attach

logger = logging.getLogger(__name__)

if os.environ.get(URL):
    try:
        name = attach(current_app._get_current_object())
    except ValueError as error:
        raise SystemExit(f"zenith_worker: {error}") from None
    logger.info("Attached to Zenith as %s.", name)
else:
    logger.warning("%s is not set: this worker is not attached to Zenith.", URL)
