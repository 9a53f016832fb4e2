"""The built-in tasks do exactly what the contract says of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_app.builtin_tasks import DrillError, EmptyTextError, analyze_text, drill_crash, drill_fail, drill_sleep


def analysed(text: str) -> dict[str, Any]:
    result: dict[str, Any] = analyze_text(text)
    return result


def words_of(text: str) -> list[str]:
    """The words that a text has, in the order of their counts: enough for texts of up to five different ones."""
    return [word for word, count in analysed(text)["top_5_words"] for _ in range(count)]


def test_the_result_has_exactly_the_members_of_the_contract() -> None:
    assert analysed("To be, or not to be: that is the question. Well? Yes!") == {
        "word_count": 12,
        "char_length": 53,
        "unique_words": 10,
        "lexical_diversity": 0.833,
        "top_5_words": [["be", 2], ["to", 2], ["is", 1], ["not", 1], ["or", 1]],
        "sentence_count": 3,
        "avg_sentence_length": 4.0,
        "preview": "To be, or not to be: that is the question. Well? Yes!",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("don't", ["don't"]),
        ("don’t", ["don’t"]),  # noqa: RUF001
        ("rock-and-roll", ["rock-and-roll"]),
        ("mother-in-law's", ["mother-in-law's"]),
        ("non\u2011breaking hy\u2010phen", ["hy\u2010phen", "non\u2011breaking"]),
        ("'quoted'", ["quoted"]),
        ("-dash- --dashes--", ["dash", "dashes"]),
        ("a--b", ["a", "b"]),
        ("dogs' bones", ["bones", "dogs"]),
        ("snake_case", ["case", "snake"]),
        ("3 apples", ["3", "apples"]),
        ("3.14", ["14", "3"]),
        ("e-mail@example.org", ["e-mail", "example", "org"]),
        ("STRASSE straße", ["strasse", "strasse"]),
        ("Ελλάδα ΕΛΛΆΔΑ", ["ελλάδα", "ελλάδα"]),
        ("данные", ["данные"]),
        ("東京", ["東京"]),
        ("١٢٣", ["١٢٣"]),
        ("naïve café", ["café", "naïve"]),
        ("👍 ok", ["ok"]),
    ],
)
def test_a_word_is_a_run_of_letters_or_digits_with_inner_apostrophes_or_hyphens(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", 3),
        ("Really?! Yes...", 2),
        ("No end", 1),
        ("A trailing one. and a half", 2),
        ("Version 3.14 is out.", 1),
        ("See example.org for more.", 1),
        ("Wait ... what?", 2),
        ("... --- !!!", 0),
        ("First.\nSecond.\tThird.", 3),
        ("He said “Stop.” Then he left.", 1),
        ("End.\u00a0Next.", 2),
        ("One. ", 1),
    ],
)
def test_a_sentence_ends_at_marks_before_white_space_or_the_end_and_has_a_word(text: str, sentences: int) -> None:
    assert analysed(text)["sentence_count"] == sentences


def test_the_most_frequent_words_come_first_and_equals_alphabetically() -> None:
    top = analysed("d c b a f e e f z z z")["top_5_words"]
    assert top == [["z", 3], ["e", 2], ["f", 2], ["a", 1], ["b", 1]]


def test_a_text_without_words_is_all_zeros() -> None:
    result = analysed("?!")
    assert (result["word_count"], result["unique_words"], result["sentence_count"]) == (0, 0, 0)
    assert (result["lexical_diversity"], result["avg_sentence_length"], result["top_5_words"]) == (0.0, 0.0, [])
    assert result["char_length"] == 2


def test_the_preview_is_the_first_120_characters_and_the_length_counts_characters() -> None:
    text = "é" * 119 + "👍" + "x" * 30
    assert analysed(text)["preview"] == "é" * 119 + "👍"
    assert analysed(text)["char_length"] == 150


def test_rates_are_rounded_to_three_and_two_decimals() -> None:
    result = analysed("a a a. b b. c c.")
    assert result["lexical_diversity"] == 0.429
    assert result["avg_sentence_length"] == 2.33


@pytest.mark.parametrize("text", ["", " ", "\n\t\u00a0"])
def test_empty_text_is_an_error_that_no_retry_mends(text: str) -> None:
    with pytest.raises(EmptyTextError):
        analyze_text(text)
    assert EmptyTextError in analyze_text.no_retry_for


@given(st.text(min_size=1).filter(str.strip))
def test_the_numbers_of_any_text_agree_with_each_other(text: str) -> None:
    result = analysed(text)
    assert result["char_length"] == len(text)
    assert text.startswith(result["preview"])
    assert 0 <= result["unique_words"] <= result["word_count"]
    assert result["sentence_count"] <= result["word_count"]
    assert (result["sentence_count"] > 0) == (result["word_count"] > 0)
    assert len(result["top_5_words"]) == min(5, result["unique_words"])
    assert sum(count for _, count in result["top_5_words"]) <= result["word_count"]


def test_the_drills_and_only_they_are_marked_as_such() -> None:
    assert [task.drill for task in (analyze_text, drill_sleep, drill_fail, drill_crash)] == [False, True, True, True]


def test_drill_sleep_returns_how_long_it_slept() -> None:
    assert drill_sleep(0.01) == 0.01


@pytest.mark.parametrize(("times", "fails"), [(0, False), (1, True), (-1, True)])
def test_drill_fail_fails_as_often_as_asked(times: int, fails: bool) -> None:
    if not fails:
        assert drill_fail(times) == "succeeded at attempt 1"
        return
    with pytest.raises(DrillError, match="on purpose"):
        drill_fail(times, "on purpose")
