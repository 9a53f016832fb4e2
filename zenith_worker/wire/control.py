"""Remote control commands of Celery's that are Zenith's own."""

from typing import Final

#: Stop taking messages from some queues, or from all (zenith_worker/consumers.py).
STOP_CONSUMING: Final = "zenith_stop_consuming"
