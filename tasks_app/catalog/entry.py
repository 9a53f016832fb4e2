"""What every entry of the catalogue has, whether the task is in this process's registry or workers told of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from tasks_app.catalog.effort import Effort
from zenith_site.common.errors import Problem

#: The dialect of the schemas of arguments.
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


class MessageOptions(NamedTuple):
    """What a task's definition puts into its messages; limits in seconds."""

    ignore_result: bool = False
    time_limit: float | None = None
    soft_time_limit: float | None = None


class CatalogEntry(Protocol):
    """A task that can be dispatched."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def description(self) -> str:
        """Its description, from its code."""

    @property
    def drill(self) -> bool:
        """Whether it fails or crashes on purpose."""

    @property
    def max_retries(self) -> int | None:
        """Attempts after the first; None for no limit."""

    @property
    def queue(self) -> str | None:
        """The queue that it is sent to by default; None if that is not known."""

    @property
    def versions(self) -> int:
        """How many different versions of it workers run; 0 if no worker online has it."""

    @property
    def arguments_schema(self) -> dict[str, Any]:
        """The JSON Schema (2020-12) of the arguments by name: what `kwargs` of a dispatch may hold."""

    @property
    def first_argument(self) -> str | None:
        """The name of the argument that `data` fills, or None if the task takes none."""

    @property
    def positional_names(self) -> list[str]:
        """The names of the positional arguments, in order."""

    @property
    def named_positions(self) -> Mapping[str, int]:
        """The positions, from 0, of the arguments that may be given by position or by name."""

    def problems(self, args: Sequence[Any], kwargs: Mapping[str, Any], effort: Effort | None = None) -> list[Problem]:
        """Return the problems of these arguments for this task; pointers start with /args or /kwargs.

        A request for several tasks gives the same effort for all of them.
        """
