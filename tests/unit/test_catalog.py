"""The catalogue: which tasks there are, and what is wrong with arguments for them."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from typing_extensions import TypedDict

from tasks_app import catalog
from tasks_app.catalog import native
from tasks_app.catalog.native import NativeEntry
from tasks_app.errors import InvalidDispatchError


class Shape(TypedDict):
    """A task's argument that is an object of a known shape."""

    x: int


def entry_of(function: Any) -> NativeEntry:
    return NativeEntry(
        name="t",
        description="",
        signature=inspect.signature(function, eval_str=True),
        drill=False,
        max_retries=3,
    )


def sample(text: str, times: int = 1, *, ratio: float = 0.5, tags: list[str] | None = None) -> None:
    """A task's body."""


def found(function: Any, *args: Any, **kwargs: Any) -> dict[str, str]:
    return {item.pointer: item.detail for item in entry_of(function).problems(args, kwargs)}


def test_the_built_in_tasks_are_listed_by_name_and_celerys_own_are_not() -> None:
    names = list(native.entries())
    assert names == sorted(names)
    assert {"analyze_text", "drill_sleep", "drill_fail", "drill_crash"} <= set(names)
    assert not any(name.startswith("celery.") for name in names)


def test_drills_are_marked() -> None:
    assert catalog.get("drill_crash").drill
    assert not catalog.get("analyze_text").drill


def test_an_entry_says_what_a_form_needs() -> None:
    entry = catalog.get("analyze_text")
    assert entry.description.startswith("Count the words")
    assert entry.first_argument == "data"
    assert list(entry.signature.parameters) == ["data"]


def test_a_bound_tasks_self_is_not_an_argument() -> None:
    assert list(catalog.get("drill_fail").signature.parameters) == ["times", "message"]


def test_a_task_without_arguments_has_no_first_one() -> None:
    assert catalog.get("drill_crash").first_argument is None


@pytest.mark.django_db
def test_an_unknown_task_is_named_with_those_that_are_known() -> None:
    with pytest.raises(InvalidDispatchError) as caught:
        catalog.get("analyse_text")
    (problem,) = caught.value.problems
    assert problem.pointer == "/task"
    assert "'analyse_text'" in problem.detail
    assert "analyze_text" in problem.detail


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (["x"], {}),
        (["x", 2], {}),
        (["x"], {"times": 2}),
        ([], {"text": "x"}),
        (["x"], {"ratio": 1}),
        (["x"], {"tags": ["a"]}),
    ],
)
def test_arguments_that_fit_have_no_problems(args: list[Any], kwargs: dict[str, Any]) -> None:
    assert found(sample, *args, **kwargs) == {}


@pytest.mark.parametrize(
    ("args", "kwargs", "pointer", "detail"),
    [
        ([], {}, "/kwargs/text", "needs this argument"),
        (["x", 1, 2], {}, "/args/2", "takes 2 arguments"),
        (["x"], {"text": "y"}, "/kwargs/text", "given twice"),
        (["x"], {"nope": 1}, "/kwargs/nope", "no such argument; t takes: text, times, ratio, tags"),
        (["x"], {"a/b": 1}, "/kwargs/a~1b", "no such argument"),
        ([7], {}, "/args/0", "valid string"),
        ([None], {}, "/args/0", "valid string"),
        (["x", "2"], {}, "/args/1", "valid integer"),
        (["x", True], {}, "/args/1", "valid integer"),
        (["x"], {"ratio": "1"}, "/kwargs/ratio", "valid number"),
        (["x"], {"tags": ["a", 1]}, "/kwargs/tags/1", "valid string"),
    ],
)
def test_arguments_that_do_not_fit_are_named(args: list[Any], kwargs: dict[str, Any], pointer: str, detail: str) -> None:
    assert detail in found(sample, *args, **kwargs)[pointer]


def test_all_that_is_wrong_is_named_at_once() -> None:
    assert found(sample, 1, "x", ratio="y").keys() == {"/args/0", "/args/1", "/kwargs/ratio"}
    assert found(sample, nope=1).keys() == {"/kwargs/text", "/kwargs/nope"}


def anything(first, *rest: int, **named: str) -> None:  # type: ignore[no-untyped-def]
    """A task without an annotation on its first argument."""


def test_variable_arguments_are_checked_one_by_one() -> None:
    assert found(anything, object(), 1, 2, a="x") == {}
    assert found(anything, None, 1, "2", a="x") != {}
    assert found(anything, None, a=1) != {}


def untyped(value: some_type_that_is_nowhere, times: int = 1) -> None:  # type: ignore[name-defined]  # noqa: F821
    """A task whose annotation cannot be resolved, as with imports for the type checker only."""


def test_an_annotation_that_cannot_be_resolved_checks_nothing() -> None:
    entry = native._entry("t", SimpleNamespace(run=untyped, max_retries=3))
    assert entry.problems([object(), 1], {}) == []
    assert entry.problems([], {}) != []


def model(value: Annotated[int, ["unhashable"]], shape: Shape) -> None:
    """A task whose annotations are of the rarer kinds."""


def test_rare_annotations_break_nothing() -> None:
    assert found(model, 1, {"x": 1}) == {}
    assert found(model, "1", {"x": "one"}).keys() == {"/args/0", "/args/1/x"}


def test_a_signature_without_annotations_checks_only_the_count() -> None:
    def plain(a, b=1):  # type: ignore[no-untyped-def]
        pass

    assert found(plain, object()) == {}
    assert found(plain) != {}
