"""A queue is a key in Redis: names that Zenith, Celery or kombu keep something else under are refused, with the reason."""

from __future__ import annotations

import pytest

from zenith_worker.wire import keys
from zenith_worker.wire.queue_names import MAX_NAME, why_malformed, why_reserved


@pytest.mark.parametrize(
    "name",
    [
        "unacked", "unacked_index", "unacked_mutex", "_kombu.binding.celery", "w@host.celery.pidbox", "celeryev", "celeryev.17",
        "celery-task-meta-17", "asgi__group__tasks", "default\x06\x163", "zenith:login:account:ann", "",
        *(value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)),
    ],
    ids=ascii,
)  # fmt: skip
def test_a_key_that_holds_something_else_is_no_name_for_a_queue(name: str) -> None:
    reason = why_reserved(name)
    assert reason
    assert not name or repr(name[:100]) in reason


@pytest.mark.parametrize(
    "name", ["default", "zenith", "unacked-mail", "asgi", "mail.pidboxes", "celery", "celeryevents", "очередь/1"]
)
def test_other_names_are_anybodys_choice(name: str) -> None:
    assert why_reserved(name) is None


@pytest.mark.parametrize("name", ["default", "a b", "x" * MAX_NAME])
def test_a_queue_can_be_given_a_name_of_printable_ascii(name: str) -> None:
    assert why_malformed(name) is None


@pytest.mark.parametrize("name", ["", "x" * (MAX_NAME + 1), "a\nb", "очередь"], ids=ascii)
def test_another_name_is_refused_with_what_is_accepted(name: str) -> None:
    assert why_malformed(name) == "must be 1 to 100 printable ASCII characters"
