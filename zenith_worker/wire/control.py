"""Zenith's own remote control commands for Celery."""

from __future__ import annotations

from typing import Final

#: Stop taking messages from some queues, or from all (zenith_worker/consumers.py).
STOP_CONSUMING: Final = "zenith_stop_consuming"
