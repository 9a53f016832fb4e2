"""The package zenith_worker is a distribution of its own, which workers of other applications install."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

import tests.installed_worker
import zenith_worker
from zenith_site.version import VERSION

PACKAGE = Path(zenith_worker.__file__).parent
LEFT_BEHIND = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The built wheel. The sources are copied: building leaves files beside them."""
    directory = tmp_path_factory.mktemp("wheel")
    shutil.copytree(PACKAGE, directory / "zenith_worker", ignore=LEFT_BEHIND)
    # Build isolation downloads setuptools.
    own = ["--no-build-isolation"] if importlib.util.find_spec("setuptools") else []
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "wheel",
        "--quiet",
        "--no-deps",
        *own,
        "./zenith_worker",
    ]
    subprocess.run(command, cwd=directory, check=True, timeout=120)
    (built,) = directory.glob("*.whl")
    return zipfile.ZipFile(built)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    """The wheel's metadata."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_string(wheel.read(name).decode())


def test_it_contains_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    kinds = {".py", ".lua", ".typed"}
    sources = {
        f"zenith_worker/{path.relative_to(PACKAGE)}"
        for path in PACKAGE.rglob("*")
        if path.suffix in kinds and not {"build", "__pycache__"} & set(path.parts)
    }
    assert {"zenith_worker/py.typed", "zenith_worker/wire/lua/claim.lua", "zenith_worker/wire/events.py"} < sources
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == sources


def test_it_says_what_it_needs(metadata: Message) -> None:
    assert (metadata["Name"], metadata["Requires-Python"]) == ("zenith-worker", ">=3.9")
    celery, redis = metadata.get_all("Requires-Dist") or ()
    assert (celery, redis.startswith("redis")) == ("celery<6,>=5.3", True)
    assert "celery -A shop worker -I zenith_worker.auto" in str(metadata.get_payload())


def test_its_version_is_zeniths(metadata: Message) -> None:
    assert metadata["Version"] == VERSION
    assert tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]["version"] == VERSION


def test_it_works_where_it_is_installed(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    script = Path(tests.installed_worker.__file__)
    subprocess.run(
        [sys.executable, script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=True, timeout=60
    )


def test_no_type_is_checked_against_a_union_which_python_3_9_cannot_evaluate() -> None:
    """Neither ruff nor vermin reports `isinstance(value, int | str)`."""
    unions = [
        f"{path.name}:{call.lineno}"
        for path in PACKAGE.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in {"isinstance", "issubclass"}
        if any(isinstance(part, ast.BinOp) for kinds in call.args[1:] for part in ast.walk(kinds))
    ]
    assert unions == []
