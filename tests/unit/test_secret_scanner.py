"""Which parts of a text are secrets: a table of texts, what holds for every text, and how much work it takes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenith_site.common import secret_scanner, secret_values
from zenith_site.common.masking import MASK, is_secret, mask_text
from zenith_site.common.secret_scanner import find_secrets

if TYPE_CHECKING:
    from collections.abc import Callable

#: Texts and what is shown of them. Where both are the same, there is nothing to hide.
ASSIGNMENTS = [
    ("password=hunter2", "password=***"),
    ("login failed: password=hunter2", "login failed: password=***"),
    ("a: b: c: password=hunter2 at once", "a: b: c: password=*** at once"),
    ("error: login: token: abc", "error: login: token: ***"),
    ("password = hunter2", "password = ***"),
    ("got password = hunter2 here", "got password = *** here"),
    ("password==hunter2", "password==***"),
    ("if password != 'hunter2':", "if password != ***:"),
    ("(password := 'hunter2')", "(password := ***)"),
    (":password => 'hunter2', :user => 'ann'", ":password => ***, :user => 'ann'"),
    ("$cfg['password'] = 'hunter2';", "$cfg['password'] = ***;"),
    ("user[password]=hunter2&user[name]=ann", "user[password]=***&user[name]=ann"),
    ("tokens[]=a&tokens[]=b&n=1", "tokens[]=***&tokens[]=***&n=1"),
    ("os.environ['DB_PASSWORD'] = 'x y'", "os.environ['DB_PASSWORD'] = ***"),
    ("self.pwd = 'x'", "self.pwd = ***"),
    ("`password`: `hunter 2`, done", "`password`: ***, done"),
    ("host=db password=hunter2 user=ann", "host=db password=*** user=ann"),
    (r"host=db password='it\'s me' user=ann", "host=db password=*** user=ann"),
    ("Server=db;Password=a;b;Database=z", "Server=db;Password=***;Database=z"),
    ("password=hun,ter2, user=ann", "password=***, user=ann"),
    ("password=a)b]c}d x", "password=*** x"),
    ("password=hun'ter\"2 x", "password=*** x"),
    ("password=a)#b]$c'!d),e x", "password=*** x"),
    ("[f(password=x).y, g(password=(1, 2)[0]).z]", "[f(password=***, g(password=***]"),
    ('[{"token":1},{"token":2},[{"n":3}]]', '[{"token":***},{"token":***},[{"n":3}]]'),
    ("password=abc;def:ghi x", "password=*** x"),
    ("f(password=hunter2)", "f(password=***)"),
    ("f(password=hunter2, user=ann)", "f(password=***, user=ann)"),
    ("{password: hunter2, user: ann}", "{password: ***, user: ann}"),
    ("{password:hunter2,user:ann}", "{password:***,user:ann}"),
    ('"login failed: password=hunter2"', '"login failed: password=***"'),
    ("password=''", "password=***"),
    ("password=", "password="),
    ("f(password=)", "f(password=)"),
    ("password=, user=ann", "password=, user=ann"),
    ("?token=&user=ann", "?token=&user=ann"),
    ("DB_PASSWORD=\nUSER=ann", "DB_PASSWORD=\nUSER=ann"),
    ("Enter password: ", "Enter password: "),
    ("password=***", "password=***"),
    ("password: ***, user: ann", "password: ***, user: ann"),
    ("password=***hunter2", "password=***"),
]  # fmt: skip

URLS = [
    ("https://x/cb?token=abc&user=u", "https://x/cb?token=***&user=u"),
    ("https://x/cb?user=u&token=a%26b%3Dc#top", "https://x/cb?user=u&token=***"),
    ("GET /cb?access_token=abc&amp;n=1", "GET /cb?access_token=***&amp;n=1"),
    (
        "https://x/?next=https%3A%2F%2Fy%2Fcb%3Ftoken%3Dabc%26user%3Du",
        "https://x/?next=https%3A%2F%2Fy%2Fcb%3Ftoken%3D***%26user%3Du",
    ),
    ("https://x/?next=%2Fcb%3Fpwd%253Dabc%2526user%253Du", "https://x/?next=%2Fcb%3Fpwd%253D***%2526user%253Du"),
    ("https://x/?q=%7B%22password%22%3A%22hunter2%22%7D", "https://x/?q=%7B%22password%22%3A***"),
    ("https://x/?access%5Ftoken=abc", "https://x/?access%5Ftoken=***"),
    ("amqp://user:pw@host", "amqp://user:***@host"),
    ("redis://:pw@host/0", "redis://:***@host/0"),
    ("postgres://u:p%40w@h/db", "postgres://u:***@h/db"),
    ("url=amqp://user:p@ss:w@host:5672//", "url=amqp://user:***@host:5672//"),
    ("redis://:a/b?c#d@host/0 is away", "redis://:***@host/0 is away"),
    ("broker: amqp://user:pw@host, redis://:pw@host", "broker: amqp://user:***@host, redis://:***@host"),
    ("jdbc:postgresql://u:1234@h/db", "jdbc:postgresql://u:***@h/db"),
    (r'{"url": "amqp:\/\/u:pw@host\/v"}', r'{"url": "amqp:\/\/u:***@host\/v"}'),
    ("?to=amqp%3A%2F%2Fu%3Apw%40host", "?to=amqp%3A%2F%2Fu%3A***%40host"),
    ("db_url://u:pw@h", "db_url://u:***@h"),
    ("PASSWORD_URL=amqp://u:pw@h rest", "PASSWORD_URL=***"),
    ("https://user@host/path", "https://user@host/path"),
    ("https://host:8000/@user", "https://host:8000/@user"),
    ("https://host:8000?mail=ann@x.org", "https://host:8000?mail=ann@x.org"),
    ("mongodb://h1:27017,h2:27017/db?mail=a@b", "mongodb://h1:27017,h2:27017/db?mail=a@b"),
    ("http://[::1]:8000/a@b", "http://[::1]:8000/a@b"),
    ("mailto:ann@example.org", "mailto:ann@example.org"),
    ("s3://bucket/key:with@both", "s3://bucket/key:with@both"),
]

STRUCTURES = [
    ('{"password": ["x"]}', '{"password": ***}'),
    ('{"password": ["x", {"y": "]"}], "user": "u"}', '{"password": ***, "user": "u"}'),
    ("{'password': {'a': ['b}', 'c']}, 'user': 'u'}", "{'password': ***, 'user': 'u'}"),
    ("bad input: {'secrets': ('a', 'b'), 'n': 1}", "bad input: {'secrets': ***, 'n': 1}"),
    ('{"password": "x"}', '{"password": ***}'),
    ('{"password": 123, "n": 1}', '{"password": ***, "n": 1}'),
    ('{"password":"a\\"b, c", "n": 1}', '{"password":***, "n": 1}'),
    ('{\n  "password": "x y",\n  "n": 1\n}', '{\n  "password": ***,\n  "n": 1\n}'),
    ("{'password': 'x'}", "{'password': ***}"),
    ("{'password': b'x y', 'n': 1}", "{'password': ***, 'n': 1}"),
    ("{b'password': b'x y', 'n': 1}", "{b'password': ***, 'n': 1}"),
    ("User(password='x')", "User(password=***)"),
    ("User(name='ann', password='x, y', age=3)", "User(name='ann', password=***, age=3)"),
    ("User(password=SecretStr('x y'), age=3)", "User(password=***, age=3)"),
    ('def f(password: str = "x y", user: str = "u"):', 'def f(password: ***, user: str = "u"):'),
    ('def f(password: str | None = "x y", n: int = 1):', "def f(password: ***, n: int = 1):"),
    (r'{\"password\": \"x\"}', r'{\"password\": ***}'),
    (r'{\"password\": \"x \\\" y\", \"n\": 1}', r'{\"password\": ***, \"n\": 1}'),
    (r'{\\\"password\\\": \\\"x y\\\", \\\"n\\\": 1}', r'{\\\"password\\\": ***, \\\"n\\\": 1}'),
    (r'{\"password\": [\"x\", \"]y\"], \"n\": 1}', r'{\"password\": ***, \"n\": 1}'),
    ("password='first\nsecond' rest", "password=*** rest"),
    ('password="""first\n"second"\nthird""" rest', "password=*** rest"),
    ('token: "a b c" rest', "token: ***"),
    ("password='it''s me' rest", "password=*** rest"),
    ("{'password': 'hunter2 and so on, cut he", "{'password': ***"),
    ('{"password": ["a", {"b": 1', '{"password": ***'),
    ("{'token': None, 'n': 1}", "{'token': ***, 'n': 1}"),
    ("<password>hunter 2</password>", "<password>***</password>"),
    ('<ns:Password Type="x">hunter 2</ns:Password>', '<ns:Password Type="x">***</ns:Password>'),
    ("<input password='x y' n='1'>", "<input password=*** n='1'>"),
    ("usage: login <token> <user>", "usage: login <token> <user>"),
    ("<SessionToken object at 0x7f>", "<SessionToken object at 0x7f>"),
]  # fmt: skip

LINES = [
    ("A=1\nDB_PASSWORD=x\nUSER=ann\n", "A=1\nDB_PASSWORD=***\nUSER=ann\n"),
    ("DB_PASSWORD=correct horse\nUSER=ann", "DB_PASSWORD=***\nUSER=ann"),
    ("DB_PASSWORD=x USER=ann", "DB_PASSWORD=*** USER=ann"),
    ("export DB_PASSWORD=x\nnext", "export DB_PASSWORD=***\nnext"),
    ("[db]\npassword = correct horse\nuser = ann", "[db]\npassword = ***\nuser = ann"),
    ("password: x\nuser: ann", "password: ***\nuser: ann"),
    ("db:\n  password: correct horse\n  user: ann", "db:\n  password: ***\n  user: ann"),
    ("- password: correct horse\n  user: ann", "- password: ***\n  user: ann"),
    ("password: a, user: b", "password: ***, user: b"),
    ("secrets:\n  db: hunter2\n  api: [x]\nuser: ann", "secrets:\n  ***\nuser: ann"),
    ("tokens:\n- a\n- b\nuser: ann", "tokens:\n***\nuser: ann"),
    ("private_key: |\n  line 1\n\n  line 2\nuser: ann", "private_key: ***\nuser: ann"),
    ("  password: >-\n    line 1\n  user: ann", "  password: ***\n  user: ann"),
    ("Password:\nhunter2 was sent", "Password:\n*** was sent"),
    ("password:\nuser: ann", "password:\nuser: ann"),
    ("'A=1\\nDB_PASSWORD=x\\nUSER=ann'", "'A=1\\nDB_PASSWORD=***\\nUSER=ann'"),
    ("b'pwd=x\\r\\nuser=ann'", "b'pwd=***\\r\\nuser=ann'"),
    ("'\\npwd=x'", "'\\npwd=***'"),
    ("password = 'a' + 'b'  # both\nnext", "password = ***\nnext"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n",
     "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----\n"),
    ("-----BEGIN PRIVATE KEY-----\nMIIE and cut", "-----BEGIN PRIVATE KEY-----***"),
    ("-----BEGIN CERTIFICATE-----\nMIIE\n-----END", "-----BEGIN CERTIFICATE-----\nMIIE\n-----END"),
    ('  File "a.py", line 3, in run\n    if not password:\n       ^^^^\n  File "b.py", line 1, in check\nX: no',
     '  File "a.py", line 3, in run\n    if not password:\n       ^^^^\n  File "b.py", line 1, in check\nX: no'),
    ('    if not token:\n  File "b.py", line 1, in check', '    if not token:\n  File "b.py", line 1, in check'),
    ("app.InvalidToken: ann is locked", "app.InvalidToken: *** is locked"),
]  # fmt: skip

HEADERS = [
    ("Authorization: Bearer xyz", "Authorization: ***"),
    ("authorization=Bearer xyz, user=ann", "authorization=***, user=ann"),
    ("x-api-key: Token abc\nHost: x", "x-api-key: ***\nHost: x"),
    ("Set-Cookie: sessionid=abc; Path=/\nHost: x", "Set-Cookie: ***\nHost: x"),
    ("> Cookie: a=b; c=d\r\n> Host: x", "> Cookie: ***\r\n> Host: x"),
    ('Authorization: Digest username="a b", response="c d"\nHost: x', "Authorization: ***\nHost: x"),
    ("curl -H 'Authorization: Bearer xyz' https://x", "curl -H 'Authorization: ***' https://x"),
    ('curl -H "Cookie: a=b; c=d" https://x', 'curl -H "Cookie: ***" https://x'),
    ("'Cookie: a=b; c=d\\r\\nHost: x'", "'Cookie: ***\\r\\nHost: x'"),
    ("{'Authorization': 'Bearer xyz', 'Host': 'x'}", "{'Authorization': ***, 'Host': 'x'}"),
    ("proxy said: bearer abcdef.ghi=", "proxy said: bearer ***"),
    ("basic dXNlcjpwdw==", "basic ***"),
    ("Bearer of bad news", "Bearer of bad news"),
]

COMMANDS = [
    ("mysql --password hunter2 -u ann", "mysql --password *** -u ann"),
    ("run --token=abc --n=1", "run --token=*** --n=1"),
    ("mysql --password 'hunter 2' -u ann", "mysql --password *** -u ann"),
    ("keytool -password hunter2 -v", "keytool -password *** -v"),
    ("run --db-password \"a b\"; ls", "run --db-password ***; ls"),
    ("Command '['mysql', '--password', 'hunter 2', '-v']' failed", "Command '['mysql', '--password', ***, '-v']' failed"),
    ('["mysql","--password","hunter2"]', '["mysql","--password",***]'),
    ("run --password --verbose", "run --password --verbose"),
    ("give --password", "give --password"),
    ("PASSWORD=x ./run", "PASSWORD=***"),
    ("ALTER USER ann PASSWORD 'hunter2' VALID", "ALTER USER ann PASSWORD *** VALID"),
    ('password "hunter 2" is too short', "password *** is too short"),
]  # fmt: skip

HARMLESS = [
    "", "***", "out of paper", "password is wrong", "PASSWORD hunter2", "the token has expired", "max_tokens=512",
    "tokenizer: fast", "user='ann'", "key: value", "a:a:a:", "'\"`", "\\\\\\\"", "2030-01-31T12:00:00+00:00", "x = y == z",
    "Unexpected token '<', \"<!DOCTYPE \"... is not valid", "KeyError: 'user'", "{'n': [1, 2, {'m': 'x'}]}",
    "passengers: 12, passing: yes", "https://x/cb?n=1&user=u", "C:\\new\\table=1", "[1, 2", ")]}", "%41%3D1",
    "basic rules", "the password's length", "secret", "password", "--password", "the authors: ann, bob", "compass=north",
]  # fmt: skip

TABLE = [*ASSIGNMENTS, *URLS, *STRUCTURES, *LINES, *HEADERS, *COMMANDS, *((text, text) for text in HARMLESS)]


@pytest.mark.parametrize(("text", "shown"), TABLE)
def test_what_stays_and_what_goes(text: str, shown: str) -> None:
    assert mask_text(text) == shown


@pytest.mark.parametrize(("text", "shown"), TABLE)
def test_what_is_shown_stays_as_it_is_when_it_is_masked_again(text: str, shown: str) -> None:
    assert mask_text(shown) == shown


def test_the_table_is_long() -> None:
    assert len(TABLE) >= 150
    assert len(dict(TABLE)) == len(TABLE)


def test_a_name_of_an_installation_is_found_in_text(settings: Any) -> None:
    assert mask_text("iban=DE12") == "iban=DE12"
    settings.ZENITH_MASK_KEYS = ["IBAN", "*"]
    assert mask_text("iban=DE12") == "iban=***"
    assert mask_text("any: thing") == "any: ***"


@pytest.mark.parametrize("name", ["passéword", "to\N{KELVIN SIGN}en", "passé.word", "x" * 300 + "_password", "a" * 300 + ".pwd"])
def test_odd_names_are_names(name: str) -> None:
    assert mask_text(f"{name}=hunter2") == f"{name}=***"


# --- What holds for every text ---

CANARY = "Qx7Zk"
NAMES = ["password", "db_password", "clientSecret", "API-KEY", "pwd", "access_token", "DB.Passwd", "tokens"]
#: What comes before and after; none of it can be part of a value.
AROUND = ["", "failed: ", "a: b: ", "x=1, ", "{'n': 1} ", "\n", "  ", "it's odd: ", 'say "so" ']
NESTED = st.recursive(
    st.text(max_size=8).map(lambda text: text + CANARY + text[::-1]),
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(st.text(max_size=5), inner, min_size=1, max_size=3),
    max_leaves=6,
)
PIECES = [
    *NAMES, "user", "File", "hunter2", MASK, "'", '"', "\\", "\\\\", '\\"', "=", ":", ": ", "=>", " = ", ",", ", ", ";", "&", "|",
    " ",    "\n", "\n  ", "- ", "\\n", "(", ")", "[", "]", "{", "}", "<", ">", "</", "%3D", "%26", "%22", "://", "@", "/",
    "--", "?",
    "Bearer ",    "Authorization", "Cookie", "-----BEGIN PRIVATE KEY-----", "-----END", "é", "0", ".", "-", "b'", '"""',
]  # fmt: skip
soups = st.lists(st.sampled_from(PIECES), max_size=24).map("".join)


@given(st.sampled_from(AROUND), st.sampled_from(NAMES), NESTED, st.sampled_from(AROUND))
def test_no_value_survives_as_json_or_as_python_prints_it(before: str, name: str, value: Any, after: str) -> None:
    for dump in (json.dumps, repr):
        text = dump({name: value, "n": 1})
        assert CANARY not in mask_text(before + text + after)
        assert CANARY not in mask_text(before + json.dumps({"body": text}) + after)
        assert CANARY not in mask_text(before + repr({"body": json.dumps([text])}) + after)


@given(st.sampled_from(AROUND), st.sampled_from(NAMES), st.sampled_from(["=", ": ", " = ", ":", "=>", "=="]), st.text(max_size=9))
def test_no_quoted_value_survives(before: str, name: str, between: str, text: str) -> None:
    value = f"{text} {CANARY} {text[::-1]}"
    for quoted in (repr(value), json.dumps(value), json.dumps(json.dumps(value))[1:-1]):
        assert CANARY not in mask_text(f"{before}{name}{between}{quoted}, n=1")


@given(
    st.sampled_from(AROUND), st.sampled_from(NAMES), st.sampled_from(["=", ": ", " = ", ":", "=>", "=="]),
    st.text(st.characters(exclude_categories=("Z", "C"), exclude_characters="=:<\\"), max_size=9), st.sampled_from(AROUND),
)  # fmt: skip
def test_no_plain_value_survives(before: str, name: str, between: str, text: str, after: str) -> None:
    # A bracket or quote that closes nothing ends a value, unless a letter follows.
    value = re.sub(r"\W", lambda found: found[0] + "a", text) + CANARY
    assert CANARY not in mask_text(f"{before}{name}{between}{value} {after}")


@given(st.sampled_from(NAMES), st.text(max_size=9), st.integers(0, 2))
def test_no_value_of_a_query_survives(name: str, text: str, times: int) -> None:
    query = urlencode({"user": "ann", name: text + CANARY + text, "n": "1"})
    for _ in range(times):
        query = "next=" + quote(f"/cb?{query}", safe="")
    shown = mask_text(f"GET https://x/cb?{query} 200")
    assert CANARY not in shown
    assert shown.startswith("GET https://x/cb?")
    assert shown.endswith(" 200")


@given(st.sampled_from(["amqp", "redis+ssl", "postgres"]), st.sampled_from(["", "ann"]), st.text(max_size=9))
def test_no_password_of_a_url_survives(scheme: str, user: str, text: str) -> None:
    password = quote(text + CANARY + text, safe="")
    assert mask_text(f"to {scheme}://{user}:{password}@host/0, away") == f"to {scheme}://{user}:***@host/0, away"


@given(soups)
def test_masking_is_idempotent(text: str) -> None:
    shown = mask_text(text)
    assert mask_text(shown) == shown


@given(soups)
def test_only_values_are_replaced(text: str) -> None:
    spans = list(find_secrets(text, is_secret))
    assert all(start < end for start, end in spans)
    assert spans == sorted(spans)
    kept = [0, *(bound for span in spans for bound in span), len(text)]
    shown = MASK.join(text[kept[index] : kept[index + 1]] for index in range(0, len(kept), 2))
    assert mask_text(text) == shown


@given(st.text())
def test_text_without_a_secrets_name_is_unchanged(text: str) -> None:
    assert mask_text(text) == text


@given(st.lists(st.sampled_from([piece for piece in PIECES if not any(map(str.isalnum, piece))] + ["user", "max_tokens", "x7"])))
def test_punctuation_without_a_secrets_name_is_unchanged(pieces: list[str]) -> None:
    text = "".join(pieces).replace("://", ":/")
    assert mask_text(text) == text


# --- How much work it takes ---


class Counted:
    """A pattern that counts its calls and the characters that they pass over."""

    def __init__(self, pattern: re.Pattern[str], work: list[int]) -> None:
        self._pattern = pattern
        self._work = work

    def search(self, text: str, position: int = 0) -> re.Match[str] | None:
        found = self._pattern.search(text, position)
        self._work[0] += 1 + (len(text) if found is None else found.end()) - position
        return found

    def match(self, text: str, *bounds: int) -> re.Match[str] | None:
        found = self._pattern.match(text, *bounds)
        self._work[0] += 1 + (0 if found is None else found.end() - found.start())
        return found

    def fullmatch(self, text: str) -> re.Match[str] | None:
        self._work[0] += 1 + len(text)
        return self._pattern.fullmatch(text)


def count_work(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make every pattern of the scanner count what it does; return the counter."""
    work = [0]
    for module in (secret_scanner, secret_values):
        for name, pattern in vars(module).items():
            if isinstance(pattern, re.Pattern):
                monkeypatch.setattr(module, name, Counted(pattern, work))
    closing: Callable[..., re.Pattern[str]] = secret_values._closing
    boundary: Callable[..., re.Pattern[str]] = secret_values._boundary
    monkeypatch.setattr(secret_values, "_closing", lambda *key: Counted(closing(*key), work))
    monkeypatch.setattr(secret_values, "_boundary", lambda *key: Counted(boundary(*key), work))
    return work


HOSTILE = [
    "a:a:a:", "'", '"', "password=", "password:", "password='", 'password="', "password=(", "password=[", "password={'a':",
    "secret\n",    "password=a,", "password=a,b", "password:\n", "password:\n ", "password: |\n ", "password: a ", "password = ",
    "password 'abc ",    "password=\\", "password='\\' ", "password=\\'", "token=a&", "x://", "x://a:", "x://a:b@",
    "x://:/", "x%3A%2F%2Fa%3A",
    "--password ",    "--token,", "Bearer ", "Basic a", "<token>", "<token", "</", "<token>a",
    "-----BEGIN PRIVATE KEY-----", "Cookie: a=b; ",
    "Authorization: 'a", "password: a | b", "password=a =", "password[", "password['", "%25", "pwd%25", "password=\\n", "a.", "-",
    "token.",    "password=`a", '\\"password\\": \\"', "password: b'", " ", "\t", "\\", "=", "password=a|", "password=***",
    "password='''",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_work_grows_with_the_length_of_hostile_text_and_no_faster(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    work = count_work(monkeypatch)
    spent = []
    for times in (200, 800):
        work[0] = 0
        list(find_secrets(piece * times, is_secret))
        spent.append(work[0])
    assert spent[1] <= 4 * spent[0] + 400, f"four times the text took {spent[1] / spent[0]:.1f} times the work"
    assert spent[1] <= 30 * len(piece * 800) + 1000


@pytest.mark.parametrize("piece", ["a:a:a:", "'", '"', "password=", "[", "password=[", "\\"])
def test_a_megabyte_of_hostile_text_is_masked(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    assert mask_text("password=" + text).startswith("password=***")
