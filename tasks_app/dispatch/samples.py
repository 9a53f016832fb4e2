"""Sample texts for `analyze_text`, used if a dispatch gives none."""

from typing import Final

SAMPLE_TEXTS: Final = (
    "A queue is a promise. Someone asked for work, and someone else will do it later.",
    "Every task is accounted for. If a worker dies, its tasks go back to the queue!",
    "The quick brown fox jumps over the lazy dog. The dog doesn't mind; it's a well-known drill.",
    "Retries need back-off, and back-off needs jitter. Otherwise all clients return at once.",
    "What happened to my task? Was it sent? Did it run? The timeline knows.",
    "At least once is what a broker can promise. Exactly once is what idempotent tasks make of it.",
    "Measure first. Then change one thing. Then measure again, side by side, in one run.",
    "A dead letter is not a failure of the system. It is a failure that the system kept for you.",
    "Rows first, messages second: the outbox keeps intent and action from disagreeing for long.",
    "Good dashboards are calm. They say that all is well, or why it is not, in two seconds.",
)
