"""Ids that other programs gave: known by their canonical form, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from zenith_worker.wire.ids import canonical, new_id

ID = "01936b2a-7c11-7a10-8000-00000000000a"


@pytest.mark.parametrize("text", [ID, ID.upper(), ID.replace("-", ""), f"{{{ID}}}", f"urn:uuid:{ID}"])
def test_a_uuid_has_one_form(text: str) -> None:
    assert canonical(text) == ID


@pytest.mark.parametrize("text", [None, "", "nightly", ID[:-1], ID + "0", ID[:-1] + "\x00", 7, b"x" * 32, [ID]])
def test_anything_else_is_no_id(text: Any) -> None:
    assert canonical(text) is None


def test_new_ids_are_canonical_and_in_order() -> None:
    ids = [str(new_id()) for _ in range(100)]
    assert [canonical(one) for one in ids] == ids == sorted(ids)
