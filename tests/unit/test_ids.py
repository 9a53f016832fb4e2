"""Ids that other programs gave: any text names one task, and always the same."""

from __future__ import annotations

from uuid import UUID

import pytest

from zenith_worker.wire.ids import key_of, keys_of, new_id

ID = "01936b2a-7c11-7a10-8000-00000000000a"
WRITTEN_OTHERWISE = (ID.upper(), ID.replace("-", ""), f"{{{ID}}}", f"urn:uuid:{ID}")


def test_a_uuid_as_celery_writes_it_is_its_own_key() -> None:
    assert key_of(ID) == UUID(ID)


ODD = ("", "nightly", "7", ID[:-1], ID + "0", f" {ID}", "\x00", "\ud800", "a" * 10_000)


@pytest.mark.parametrize("text", [*ODD, *WRITTEN_OTHERWISE])
def test_any_other_text_has_a_key_of_its_own(text: str) -> None:
    assert key_of(text) == key_of(text)
    assert key_of(text).version == 5
    assert key_of(text) not in {UUID(ID), key_of(text + "x"), key_of(text.swapcase() + " ")}


def test_a_key_does_not_change_from_release_to_release() -> None:
    assert str(key_of("nightly")) == "3ecf662e-87b7-53e1-9b37-5ef491f6efed"


@pytest.mark.parametrize("text", WRITTEN_OTHERWISE)
def test_a_person_may_write_a_uuid_in_any_form(text: str) -> None:
    assert keys_of(text) == {UUID(ID), key_of(text)}
    assert keys_of(ID) == {UUID(ID)}


def test_new_ids_are_in_order() -> None:
    ids = [str(new_id()) for _ in range(100)]
    assert [str(key_of(one)) for one in ids] == ids == sorted(ids)
