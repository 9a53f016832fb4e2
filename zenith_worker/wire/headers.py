"""The headers of Celery messages that are Zenith's own, and those of W3C Trace Context."""

from typing import Final

#: The task has a row already, because dispatch/ wrote it: 1, or PERHAPS_SENT.
DISPATCHED_HEADER: Final = "zenith"
#: The same message may have been sent before, by a relay that died.
PERHAPS_SENT: Final = 2
#: How many retries the dispatch asked for.
MAX_RETRIES_HEADER: Final = "zenith_max_retries"
#: The message is sent by the end of another task, which may be reached twice; then it is sent twice, with the same id.
COPIES_HEADER: Final = "zenith_copies"
#: Which workers gave the message back because they have no code for its task, and when first.
REFUSED_HEADER: Final = "zenith_refused_by"
#: Of a retry: its attempt (from 0), and for how many seconds it backs off.
BACKOFF_HEADER: Final = "zenith_backoff"
#: Of a delivery, stamped by the worker that received it: how many came before, and when it came.
DELIVERY_HEADER: Final = "zenith_delivery"
RECEIVED_HEADER: Final = "zenith_received"
#: The id of the request that sent the task, or that sent the task which sent it.
REQUEST_HEADER: Final = "zenith_request_id"
TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
