"""Names of workers, queues and tasks that Celery and kombu allow, beside the empty one."""

from __future__ import annotations

from typing import Final

NAMES: Final = [
    "plain@host", "team/billing@host", "/both/", "a//b", "a/./b", "mail\n", ".", "..", "two words", "50%2F", "a?b#c&d=e",
    "a\\b;c", "~", "~2F", 'say "hi" <b>', "a*b", "почта/срочно@узел", "🐇" * 255, "a/pause", "a/messages", "a/clear", "a/grow",
]  # fmt: skip
