"""Kinds of parameters that the lists share, on pages and in the API."""

from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from zenith_site.common import jsonsafe
from zenith_worker.wire.states import STATUSES, Status

#: Rows of a page.
DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000


def storable(text: str) -> str:
    """Refuse what PostgreSQL would refuse, while the parameter's name is still known."""
    for problem in jsonsafe.problems(text):
        raise ValueError(problem.detail)
    return text


#: Characters of a filter: room for the longest name, 255 of them, with each one escaped in a search.
MAX_TEXT: Final = 600
#: A form sends every field, the empty ones too.
FilterText = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(storable)]
#: A status or, as forms send it, nothing.
FilterStatus = Annotated[
    Status | None,
    BeforeValidator(lambda value: value or None),
    WithJsonSchema({"type": "string", "enum": [*STATUSES, ""]}),
]
