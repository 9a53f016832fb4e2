"""A column of values as one PostgreSQL array literal.

psycopg quotes every element of a list in Python, which was a third of the recorder's time; one string
for a whole column costs half of that (docs/performance.md). The syntax is that of the PostgreSQL
documentation, "Arrays", 8.15.2 and 8.15.6.
"""

from collections.abc import Iterable


def column(values: Iterable[object]) -> str:
    """Return values as an array literal; what is not a number is quoted, None becomes NULL."""
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: object) -> str:
    if value is None:
        return "NULL"
    if type(value) is int or type(value) is float:
        return repr(value)
    text = str(value)
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
