"""Zenith's own headers of Celery messages, and those of W3C Trace Context."""

from __future__ import annotations

from typing import Final

#: The task already has a row, which dispatch/ wrote: 1, or PERHAPS_SENT.
DISPATCHED_HEADER: Final = "zenith"
#: The same message may have been sent before, by a relay that died.
PERHAPS_SENT: Final = 2
#: The number of retries that the dispatch requested.
MAX_RETRIES_HEADER: Final = "zenith_max_retries"
#: The message is sent at the end of another task, which may be reached twice; then it is sent twice, with the same id.
COPIES_HEADER: Final = "zenith_copies"
#: The workers that gave the message back because they have no code for its task, with the first time.
REFUSED_HEADER: Final = "zenith_refused_by"
#: For a retry: its attempt (from 0), and its back-off in seconds.
BACKOFF_HEADER: Final = "zenith_backoff"
#: For a delivery, set by the worker that received it: the number of earlier deliveries, and the time of receipt.
DELIVERY_HEADER: Final = "zenith_delivery"
RECEIVED_HEADER: Final = "zenith_received"
#: The id of the request that sent the task, directly or through another task.
REQUEST_HEADER: Final = "zenith_request_id"
TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
