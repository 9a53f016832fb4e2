"""Which messages a worker takes for a task's: one without an id that is text can be run, and reported, by nobody."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import InvalidTaskError

from zenith_worker.consumer import _check


@pytest.mark.parametrize("id_", [None, 7, ["x"], {}], ids=["null", "number", "list", "object"])
def test_a_message_whose_id_is_no_text_is_refused(id_: Any) -> None:
    with pytest.raises(InvalidTaskError, match="its id is not text"):
        _check(SimpleNamespace(headers={"task": "analyze_text", "id": id_}, payload=[[], {}, {}]))


def test_a_message_with_an_id_is_taken() -> None:
    _check(SimpleNamespace(headers={"task": "analyze_text", "id": "x"}, payload=[[], {}, {}]))
