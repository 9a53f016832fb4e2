"""What is hidden, and what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenith_site.common import jsonsafe, masking
from zenith_site.common.masking import MASK, is_secret, mask, mask_json, mask_positional, mask_problems, mask_text


@pytest.mark.parametrize(
    "name",
    [
        "password", "PASSWORD", "db_password", "userPassword", "password2", "passwd", "pwd", "passphrase", "secret",
        "client_secret", "clientSecret", "SECRET_KEY", "secrets", "token", "access_token", "accessToken", "csrf-token",
        "tokens", "api_key", "apiKey", "apikey", "X-API-Key", "aws_access_key_id", "private_key", "Authorization",
        "proxy-authorization", "credentials", "Set-Cookie", "cookies", "sessionid", "session_id",
    ],
)  # fmt: skip
def test_the_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    ["", "*", "user", "pass_rate", "key", "keys", "max_tokens", "tokenizer", "token_count", "author", "compass", "session", "pwd_"
     "hint", "id", "monkey", "passenger"],
)  # fmt: skip
def test_names_that_are_harmless(name: str) -> None:
    assert not is_secret(name)


def test_an_installation_can_name_more(settings: Any) -> None:
    assert not is_secret("card_number")
    settings.ZENITH_MASK_KEYS = ["Card-Number", "iban*"]
    assert is_secret("cardNumber")
    assert is_secret("iban_of_payer")
    assert is_secret("password"), "what is always hidden stays so"
    assert not is_secret("my_card_number"), "a pattern matches the whole name"


@pytest.mark.parametrize("harmless", ["", "-", "_ _"])
def test_a_pattern_without_a_letter_hides_nothing(settings: Any, harmless: str) -> None:
    settings.ZENITH_MASK_KEYS = [harmless]
    assert not is_secret("user")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        ("password", "password"),
        (["password", "hunter2"], ["password", "hunter2"]),
        ({"password": "hunter2", "user": "ann"}, {"password": MASK, "user": "ann"}),
        ({"password": None}, {"password": None}),
        ({"password": 7, "token": True, "secret": ""}, {"password": MASK, "token": MASK, "secret": MASK}),
        ({"secret": {"a": [1, 2]}}, {"secret": MASK}),
        ([{"deep": [{"api_key": "k"}, 1]}], [{"deep": [{"api_key": MASK}, 1]}]),
        (({"token": "t"},), [{"token": MASK}]),
        ({"max_tokens": 512, "a": 1.5, "b": False}, {"max_tokens": 512, "a": 1.5, "b": False}),
        ("login failed: password=hunter2", "login failed: password=***"),
        (["amqp://user:pw@host", {"url": "redis://:pw@host/0"}], ["amqp://user:***@host", {"url": "redis://:***@host/0"}]),
        ({"note": '{"password": ["x"]}'}, {"note": '{"password": ***}'}),
        ({"amqp://user:pw@host": "up", 7: "x"}, {"amqp://user:***@host": "up", 7: "x"}),
        (["mysql", "--password", "hunter2", "-v"], ["mysql", "--password", MASK, "-v"]),
        (["run", "--password", "--verbose", "--token"], ["run", "--password", "--verbose", "--token"]),
        (["--password", 7, "x"], ["--password", MASK, "x"]),
        (["--password=x", "y", "-token is odd", "z"], ["--password=***", "y", "-token *** odd", "z"]),
    ],
)  # fmt: skip
def test_values(value: Any, shown: Any) -> None:
    assert mask(value) == shown


def test_what_was_given_is_left_as_it_is() -> None:
    given = {"password": "hunter2", "more": [{"token": "t"}]}
    mask(given)
    assert given == {"password": "hunter2", "more": [{"token": "t"}]}


@pytest.mark.parametrize(
    ("args", "names", "shown"),
    [
        ([], ["password"], []),
        (["ann", "hunter2"], ["user", "password"], ["ann", MASK]),
        (["ann", "hunter2"], ["user"], ["ann", "hunter2"]),
        (["ann", "hunter2"], [], ["ann", "hunter2"]),
        ([{"token": "t"}], ["login"], [{"token": MASK}]),
        ([None], ["password"], [None]),
        (["redis://:pw@host/0", "pwd=x"], ["url"], ["redis://:***@host/0", "pwd=***"]),
    ],
)
def test_positional_arguments(args: list[Any], names: list[str], shown: list[Any]) -> None:
    assert mask_positional(args, names) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("out of paper", "out of paper"),
        ("password is wrong", "password is wrong"),
        ("login(user='ann', password='hunter2')", "login(user='ann', password=***)"),
        ("password=hunter2, user=ann", "password=***, user=ann"),
        ('{"api_key": "k-1 2", "n": 1}', '{"api_key": ***, "n": 1}'),
        ("{'token': 'a b', 'n': 1}", "{'token': ***, 'n': 1}"),
        (r'"{\"token\": \"abc\", \"n\": 1}"', r'"{\"token\": ***, \"n\": 1}"'),
        ("DB_PASSWORD: hunter2\nnext: line", "DB_PASSWORD: ***\nnext: line"),
        ("?user=ann&access_token=abc&n=1", "?user=ann&access_token=***&n=1"),
        ("Authorization: Bearer abcdef.ghi", "Authorization: ***"),
        ("got Bearer abcdef.ghi and left", "got Bearer *** and left"),
        ("cannot reach postgres://zenith:hunter2@db/zenith", "cannot reach postgres://zenith:***@db/zenith"),
        ("redis://:hunter2@cache:6379/0 is away", "redis://:***@cache:6379/0 is away"),
        ("http://host:8000/path?x=1 user@host", "http://host:8000/path?x=1 user@host"),
        ('  File "app.py", line 3, in run\n    login(password)', '  File "app.py", line 3, in run\n    login(password)'),
        ("max_tokens=512", "max_tokens=512"),
        ("run --password=hunter2 --n=1", "run --password=*** --n=1"),
    ],
)
def test_text(text: str, shown: str) -> None:
    assert mask_text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "password=" * 3000,
        'password="' * 3000,
        "a:" * 50_000,
        "x://" + "a" * 300_000,
        "a" * 300_000,
        "a" + " " * 300_000,
        'password="\\' * 3000,
    ],
)
def test_text_made_to_be_slow_is_not(text: str) -> None:
    import signal

    def too_slow(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, too_slow)
    signal.alarm(20)
    try:
        mask_text(text)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"token":"t","n":1}', '{"token": "***", "n": 1}'),
        ('{"n":1}', '{"n":1}'),
        ("null", "null"),
        ("('ann', {'token': 't'})", "('ann', {'token': ***})"),
        ('["login: password=x"]', '["login: password=***"]'),
        ('"redis://:pw@host/0"', '"redis://:***@host/0"'),
        ('{"pass\\u0077ord": "x", "n": 1}', '{"password": "***", "n": 1}'),
        ('{"api key": "x"}', '{"api key": "***"}'),
        (r'["amqp:\/\/u:pw@h"]', '["amqp://u:***@h"]'),
        (r'{"out": "{\"password\": \"x\"}"}', r'{"out": "{\"password\": ***}"}'),
        ('{"n":1,"text":"the token has expired"}', '{"n":1,"text":"the token has expired"}'),
    ],
)
def test_json_text(text: str, shown: str) -> None:
    assert mask_json(text) == shown


def test_every_pattern_hides_the_name_it_is_made_of() -> None:
    for pattern in masking.PATTERNS:
        assert is_secret(pattern.replace("*", "x")), pattern
    assert json.dumps(mask({"password": 1})) == '{"password": "***"}'


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["user", "password", "n"]), inner, max_size=3),
    max_leaves=12,
)


@given(NESTED)
def test_masking_values_is_idempotent(value: Any) -> None:
    shown = mask(value)
    assert mask(shown) == shown
    assert json.loads(mask_json(json.dumps(value))) == shown


@pytest.mark.parametrize("leaf", ["hunter2", "password=hunter2", {"password": "hunter2"}])
def test_what_lies_too_deep_is_replaced_by_a_marker(leaf: Any) -> None:
    value = leaf
    for _ in range(100_000):
        value = {"a": [value]}
    shown = json.dumps(mask(value))
    assert "hunter2" not in shown
    assert json.dumps(jsonsafe.TOO_DEEP) in shown
    assert len(shown) < 5000


def test_a_value_as_deep_as_the_api_takes_is_shown_in_full() -> None:
    value: Any = "leaf"
    for _ in range(jsonsafe.MAX_DEPTH):
        value = [value]
    assert mask(value) == value


@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, '{"a":' * 50_000 + '"password=hunter2"' + "}" * 50_000])
def test_json_text_that_is_too_deep_to_read_is_taken_as_a_message(text: str) -> None:
    assert "hunter2" not in mask_json(text)


def test_the_mask_inside_a_text_is_not_sent_back_in_place_of_a_secret() -> None:
    given = {"note": "login: password=***", "url": ["redis://:***@host/0"], "rating": "***", "own": "password=new"}
    assert [problem.pointer for problem in mask_problems(given, "/kwargs")] == ["/kwargs/note", "/kwargs/url/0"]


def test_looking_for_the_mask_in_a_deep_value_raises_no_recursion_error() -> None:
    value: Any = {"password": MASK}
    for _ in range(100_000):
        value = [value]
    assert list(mask_problems(value, "")) == []
