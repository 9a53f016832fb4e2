"""Fingerprints: what varies from one failure to the next does not split a group, what matters does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_app.fingerprint import FRAME_KEPT, KEPT, fingerprint, normalise, own_frame

OWN = "/srv/shop/billing/tasks.py"
LIBRARY = "/srv/shop/.venv/lib/python3.12/site-packages/requests/adapters.py"
STANDARD = "/usr/lib/python3.12/json/decoder.py"


def traceback(*frames: tuple[str, int, str]) -> str:
    lines = "".join(f'  File "{file}", line {line}, in {function}\n    code()\n' for file, line, function in frames)
    return f"Traceback (most recent call last):\n{lines}ValueError: no\n"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("", ""),
        ("the disk is full", "the disk is full"),
        ("  two\n lines\t here ", "two lines here"),
        ("took 30 s", "took <n> s"),
        ("took 1,240.5 s at 12:30:01", "took <n> s at <n>"),
        ("worker3 lost order7", "worker<n> lost order<n>"),
        ("KeyError: 'customer_4711'", "KeyError: <str>"),
        ('no column "total" in `orders`', "no column <str> in <str>"),
        ("it can't and won't", "it can't and won't"),
        ("id 0192ee07-51aa-7000-8000-00000000abcd is gone", "id <uuid> is gone"),
        ("<Order object at 0x7f3a2c1b>", "<Order object at <address>>"),
        ("digest deadbeef01 and 9f86d081884c7d65", "digest <hex> and <hex>"),
        ("the facade decade", "the facade decade"),
        ("No such file: /var/lib/zenith/7.json", "No such file: <path>"),
        (r"cannot open C:\Users\me\x.txt now", "cannot open <path> now"),
        ("and/or", "and/or"),
        ("GET https://api.example.com/v1/users/7?x=1 failed", "GET <url> failed"),
        ("no mailbox for ann.b+x@example.co.uk here", "no mailbox for <email> here"),
        ("10.0.0.7:5432 refused", "<n> refused"),
    ],
)
def test_what_varies_becomes_a_placeholder(message: str, expected: str) -> None:
    assert normalise(message) == expected


@given(st.text())
def test_normalising_never_raises_keeps_its_bound_and_changes_nothing_twice(message: str) -> None:
    once = normalise(message)
    assert len(once) <= KEPT
    assert normalise(once) == once


_PIECES = st.sampled_from(
    ["'", '"', "`", "a", "1", "/", " ", "\\", "x", "0x", "@", ".", "://", "-", "<n>", "f" * 8, "9" * 300, "é"]
)


@given(st.lists(_PIECES, max_size=60).map("".join))
def test_nor_does_what_looks_like_many_things_at_once(message: str) -> None:
    once = normalise(message)
    assert len(once) <= KEPT
    assert normalise(once) == once


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([], ""),
        ([(OWN, 3, "charge")], "billing/tasks.py charge"),
        ([(OWN, 3, "charge"), (LIBRARY, 9, "send")], "billing/tasks.py charge"),
        ([(OWN, 3, "charge"), (STANDARD, 9, "decode"), ("<frozen importlib>", 1, "load")], "billing/tasks.py charge"),
        ([(OWN, 3, "charge"), ("/srv/shop/billing/cards.py", 80, "book")], "billing/cards.py book"),
        ([(LIBRARY, 3, "send"), (STANDARD, 9, "decode")], "json/decoder.py decode"),
        ([("tasks.py", 3, "<lambda>")], "tasks.py <lambda>"),
        ([(r"C:\shop\billing\tasks.py", 3, "charge")], "billing/tasks.py charge"),
        ([(OWN, 3, "f" * 500)], ("billing/tasks.py " + "f" * 500)[:FRAME_KEPT]),
    ],
)
def test_the_innermost_own_frame_is_named_without_its_line(frames: list[tuple[str, int, str]], expected: str) -> None:
    assert own_frame(traceback(*frames)) == expected


def test_of_chained_exceptions_the_last_one_counts() -> None:
    first, last = traceback((OWN, 3, "charge")), traceback((OWN, 9, "give_up"))
    text = f"{first}\nDuring handling of the above exception, another exception occurred:\n\n{last}"
    assert own_frame(text) == "billing/tasks.py give_up"


def test_frames_of_an_exception_group_are_found() -> None:
    assert own_frame(f'  + Exception Group Traceback\n  |   File "{OWN}", line 3, in charge\n') == "billing/tasks.py charge"


@given(st.text())
def test_looking_for_a_frame_never_raises(text: str) -> None:
    assert len(own_frame(text)) <= FRAME_KEPT


def test_a_fingerprint_is_sixteen_bytes_in_hexadecimal() -> None:
    assert fingerprint("charge", "ValueError", "no", "x") == fingerprint("charge", "ValueError", "no", "x")
    assert len(bytes.fromhex(fingerprint("charge", "ValueError", "no", "x"))) == 16


def test_each_part_makes_a_difference() -> None:
    parts = ["charge", "ValueError", "no", "billing/tasks.py charge"]
    prints = {fingerprint(*[*parts[:index], "other", *parts[index + 1 :]]) for index in range(4)}
    assert len(prints | {fingerprint(*parts)}) == 5


def test_parts_do_not_run_into_each_other() -> None:
    assert fingerprint("a", "b", "", "") != fingerprint("ab", "", "", "")


@given(st.text(), st.text(), st.text(), st.text())
def test_a_fingerprint_of_anything_is_made(name: str, error: str, message: str, frame: str) -> None:
    assert len(fingerprint(name, error, message, frame)) == 32
