"""What keeps the log readable."""

import logging


class OneLine(logging.Filter):
    """Takes the traceback off a record whose message says all."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        record.exc_info = record.exc_text = None
        return True
