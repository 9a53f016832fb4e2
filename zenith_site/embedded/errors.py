"""Errors of the embedded servers."""


class EmbeddedError(Exception):
    """An embedded server cannot run; the text is one line for the terminal that says what to do."""
