"""What can go wrong with an embedded server, each said in one line that a person can act on."""


class EmbeddedError(Exception):
    """An embedded server cannot be run; its text is one line for the terminal."""
