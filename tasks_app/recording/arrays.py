"""PostgreSQL array literals.

psycopg quotes every element of a list in Python, which took a third of the recorder's time; one string for a whole column
costs half of that (docs/performance.md). The syntax is in the PostgreSQL documentation, "Arrays", 8.15.2 and 8.15.6.
"""

from collections.abc import Iterable


def column(values: Iterable[object]) -> str:
    """Return values as an array literal: numbers as they are, None as NULL, anything else quoted."""
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: object) -> str:
    kind = type(value)
    if kind is int or kind is float:
        return repr(value)
    if value is None:
        return "NULL"
    text = str(value)
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
