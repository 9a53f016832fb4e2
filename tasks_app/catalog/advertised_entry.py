"""Tasks that are made from what workers told (advertised.py), and not from their code.

During a rolling deploy workers of several versions run. Nobody knows which of them takes a task, so its arguments must fit all.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Final

from tasks_app.catalog.effort import Effort, weight_of
from tasks_app.catalog.entry import DIALECT, MessageOptions
from zenith_site.common.errors import Problem
from zenith_site.common.jsonsafe import MAX_NAMED, escape

_POSITIONAL: Final = ("positional_only", "positional_or_keyword")
_VARIADIC: Final = ("var_positional", "var_keyword")
#: Names that a problem lists at most.
_LISTED: Final = 30


class Parameter:
    """A parameter of a task."""

    def __init__(self, described: Mapping[str, Any]) -> None:
        self.name: str = described["name"]
        self.kind: str = described["kind"]
        self.is_required: bool = described["required"]
        self.schema: Mapping[str, Any] = described["schema"]
        self._default: Mapping[str, Any] = {"default": described["default"]} if "default" in described else {}

    @property
    def schema_with_default(self) -> dict[str, Any]:
        """The schema as forms and the API show it."""
        return {**self.schema, **self._default}

    @cached_property
    def _validator(self) -> Any:
        # Its import takes a tenth of a second, and few processes check arguments by schemas.
        from jsonschema import Draft202012Validator

        return Draft202012Validator(self.schema)

    @cached_property
    def _weight(self) -> int:
        return weight_of(self.schema)

    def problems(self, value: Any, pointer: str, effort: Effort) -> Iterator[Problem]:
        """Yield what is wrong with a value; nothing if the effort that is left does not allow to check it."""
        if not self.schema or not effort.allows(value, self._weight):
            return
        for error in islice(self._validator.iter_errors(value), MAX_NAMED):
            path = "".join(f"/{escape(str(step))}" for step in error.absolute_path)
            yield Problem(pointer + path, _detail(error))


class Version:
    """A task as one version of its application describes it."""

    def __init__(self, name: str, described: Mapping[str, Any]) -> None:
        self.name = name
        self.parameters = [Parameter(item) for item in described["parameters"]]
        self.positional = [item for item in self.parameters if item.kind in _POSITIONAL]
        self.named = {item.name: item for item in self.parameters if item.kind not in ("positional_only", *_VARIADIC)}
        self.rest = self._one("var_positional")
        self.others = self._one("var_keyword")

    def _one(self, kind: str) -> Parameter | None:
        return next((item for item in self.parameters if item.kind == kind), None)

    def problems(self, args: Sequence[Any], kwargs: Mapping[str, Any], effort: Effort) -> list[Problem]:
        """Return what is wrong with these arguments: with how they are given, or else with their values."""
        return list(self._binding_problems(args, kwargs)) or list(self._value_problems(args, kwargs, effort))

    def _binding_problems(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield a problem for each argument that Python would not bind."""
        if len(args) > len(self.positional) and self.rest is None:
            yield Problem(f"/args/{len(self.positional)}", f"{self.name} takes {len(self.positional)} arguments")
        by_position = {item.name for item in self.positional[: len(args)]}
        only_by_position = {item.name for item in self.positional} - self.named.keys()
        for name in kwargs:
            if name in self.named and name in by_position:
                yield Problem(f"/kwargs/{escape(name)}", "given twice")
            elif name not in self.named and self.others is None:
                yield Problem(f"/kwargs/{escape(name)}", self._unknown(name in only_by_position))
        for item in self.parameters:
            is_given = item.name in by_position or (item.name in kwargs and item.name in self.named)
            if item.is_required and not is_given:
                yield Problem(f"/kwargs/{escape(item.name)}", f"{self.name} needs this argument")

    def _unknown(self, is_positional: bool) -> str:
        if is_positional:
            return "can be given by position only"
        return f"no such argument; {self.name} takes: {listed(item.name for item in self.parameters)}"

    def _value_problems(self, args: Sequence[Any], kwargs: Mapping[str, Any], effort: Effort) -> Iterator[Problem]:
        for index, value in enumerate(args):
            parameter = self.positional[index] if index < len(self.positional) else self.rest
            if parameter is not None:
                yield from parameter.problems(value, f"/args/{index}", effort)
        for name, value in kwargs.items():
            parameter = self.named.get(name, self.others)
            if parameter is not None:
                yield from parameter.problems(value, f"/kwargs/{escape(name)}", effort)


@dataclass(frozen=True)
class AdvertisedEntry:
    """A task that workers told of, as the newest version describes it.

    Attributes:
        options: what its messages have if Zenith's own workers run it.
        described: the task in each version that workers online have, newest first; or else as it was told last.
        is_online: whether a worker with it is online.
    """

    name: str
    description: str
    drill: bool
    max_retries: int | None
    queue: str | None
    options: MessageOptions
    described: tuple[Version, ...]
    is_online: bool

    @classmethod
    def of(cls, name: str, described: Sequence[Mapping[str, Any]], *, is_online: bool) -> "AdvertisedEntry":
        """Return the entry for the stored descriptions (advertised.py) of a task, newest first."""
        newest, versions = described[0], tuple(Version(name, item) for item in described)
        options = MessageOptions(**{field: newest[field] for field in MessageOptions._fields if field in newest})
        return cls(name, newest["doc"], newest["drill"], newest["max_retries"], newest["queue"], options, versions, is_online)

    @property
    def _newest(self) -> Version:
        return self.described[0]

    @property
    def versions(self) -> int:
        """How many different versions of the task workers run; 0 if no worker online has it."""
        return len(self.described) if self.is_online else 0

    @property
    def arguments_schema(self) -> dict[str, Any]:
        """The JSON Schema (2020-12) of the arguments by name, in the newest version."""
        named = [item for item in self._newest.parameters if item.kind not in _VARIADIC]
        return {
            "$schema": DIALECT,
            "type": "object",
            "properties": {item.name: item.schema_with_default for item in named},
            "required": [item.name for item in named if item.is_required],
            "additionalProperties": self._newest.others is not None,
        }

    @property
    def first_argument(self) -> str | None:
        """The name of the argument that `data` fills, or None if the task takes none."""
        return next(iter(self.positional_names), None)

    @property
    def positional_names(self) -> list[str]:
        """The names of the positional arguments, in order."""
        return [item.name for item in self._newest.positional]

    @property
    def named_positions(self) -> Mapping[str, int]:
        """The positions, from 0, of the arguments that may be given by position or by name."""
        return {item.name: index for index, item in enumerate(self._newest.positional) if item.name in self._newest.named}

    def problems(self, args: Sequence[Any], kwargs: Mapping[str, Any], effort: Effort | None = None) -> list[Problem]:
        """Return the problems of these arguments for any version of this task; pointers start with /args or /kwargs."""
        effort = effort or Effort()
        found = [version.problems(args, kwargs, effort) for version in self.described]
        together = dict.fromkeys(problem for problems in found for problem in problems)
        return [_told(problem, sum(problem in problems for problems in found), len(found)) for problem in together]


def listed(names: Iterable[str]) -> str:
    """Return names for a message, not too many of them."""
    names = list(names)
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return (", ".join(names[:_LISTED]) or "none") + more


def _told(problem: Problem, versions: int, of: int) -> Problem:
    """Return a problem, with how many of the versions that run have it if the others do not."""
    if versions == of:
        return problem
    return Problem(problem.pointer, f"{problem.detail} (in {versions} of the {of} versions of this task that are running)")


def _detail(error: Any) -> str:
    """Return what an error of jsonschema says of a value, without the value: it may be long, or a secret."""
    wanted = error.validator_value
    match error.validator:
        case "type":
            return f"must be of the type {' or '.join([wanted] if isinstance(wanted, str) else wanted)}"
        case "enum":
            return f"must be one of: {listed(repr(choice)[:100] for choice in wanted)}"
        case "const":
            return f"must be {wanted!r:.100}"
        case "required":
            missing = [name for name in wanted if name not in error.instance]
            return f"needs the members: {listed(missing)}"
        case "additionalProperties":
            unknown = error.instance.keys() - error.schema.get("properties", {}).keys()
            return f"has unknown members: {listed(sorted(name[:100] for name in unknown))}"
        case "items" | "maxItems":
            return "has too many items"
        case "minItems":
            return f"needs {wanted} items"
        case _:
            return "is of none of the accepted types"
