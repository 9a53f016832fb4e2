"""What of Celery's integration suite runs here, and which of its tests are not expected to pass, each with the reason."""

from __future__ import annotations

#: Its files that speak of what a worker and a result backend do.
FILES = ("test_canvas.py", "test_tasks.py")
#: Tests that are not expected to pass.
NOT_EXPECTED: dict[str, str] = {}
#: Tests that are not run in `make test`, with the reason.
NOT_RUN: dict[str, str] = {}
