"""tools/duplicates.py finds what stands twice, by its words and by its shape."""

from __future__ import annotations

import pytest

from tools import duplicates

LOOP = """\
def total(rows):
    amount = 0
    for row in rows:
        # what is paid counts
        if row["paid"]:
            amount += row["price"] * 2

    print(amount)
    return amount
"""
RENAMED = LOOP.replace("rows", "letters").replace("amount", "size").replace('"price"', '"weight"').replace("2", "3")


def found(**sources: str) -> list[duplicates.Pair]:
    return duplicates.pairs({name: duplicates.lines_of(source) for name, source in sources.items()})


def test_the_same_lines_in_two_files_are_a_pair() -> None:
    pair, = found(one=LOOP, other=f"import os\n\n{LOOP}")  # fmt: skip
    assert pair.identical
    assert (pair.lines, pair.one, pair.other) == (7, ("one", 1, 9), ("other", 3, 11))


def test_other_names_and_numbers_make_the_same_shape() -> None:
    pair, = found(one=LOOP, other=RENAMED)  # fmt: skip
    assert not pair.identical
    assert str(pair).endswith("(shape)")


def test_a_file_is_compared_with_itself() -> None:
    pair, = found(one=f"{LOOP}\nclose(total)\n{LOOP}")  # fmt: skip
    assert (pair.one, pair.other) == (("one", 1, 9), ("one", 12, 20))


def test_another_order_of_the_lines_is_no_pair() -> None:
    assert found(one=LOOP, other="\n".join(reversed(LOOP.splitlines()))) == []


def test_five_lines_are_no_pair() -> None:
    assert found(one=LOOP, other="\n".join(LOOP.splitlines()[:6])) == []


def test_a_long_list_of_names_is_no_pair() -> None:
    assert found(one='"a",\n' * 20, other='"b",\n' * 20) == []


def test_a_shape_of_short_lines_is_no_pair() -> None:
    fields = "".join(f"a{number}: int\nb{number} = c\n@d{number}\n" for number in range(3))
    assert found(one=fields, other=fields) != []
    assert found(one=fields, other=fields.replace("c", "e").replace("d", "f")) == []


def test_what_stands_everywhere_is_left_out() -> None:
    assert found(**{f"file{number}": LOOP for number in range(duplicates.COMMON + 1)}) == []


@pytest.mark.parametrize(
    "line", ["", "   ", "# why", "// why", "{# why #}", "import os", "from os import path", "})", "{% load static %}"]
)
def test_lines_that_say_nothing_are_passed_over(line: str) -> None:
    assert duplicates.lines_of(line) == []


def test_tags_and_keywords_keep_their_words() -> None:
    assert duplicates.shape('<td class="num">{{ row.size }}</td>') == '<td class="">{{ x.x }}</td>'
    assert duplicates.shape("return found if 12 else None") == "return x if 0 else x"
