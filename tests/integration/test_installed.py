"""The wheel that `pip install .` builds: it holds what Zenith needs, and runs in an environment without a clone."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from email import message_from_string
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.processes import REPOSITORY, free_port
from tests.waiting import eventually
from zenith_site.version import DISTRIBUTION, VERSION

pytestmark = pytest.mark.processes

#: Seconds for building, for installing, and for a command.
PATIENCE = 180
PACKAGES = ("zenith_site", "tasks_app", "infra_app")
#: Where the wheel has the folders beside those packages.
MOVED = {
    "docs": "zenith_site/_resources/docs", "static": "zenith_site/_resources/static",
    "templates": "zenith_site/_resources/templates", "zenith_worker": "zenith_site/_bundled/zenith_worker",
}  # fmt: skip
SOURCES = ("pyproject.toml", "setup.py", "README.md", "requirements.txt", "requirements-embedded.txt", "requirements-otel.txt")
LEFT_BEHIND = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
#: An application's own files, in whose directory Zenith is started: neither may change what it does.
STRANGERS = {".env": "DATABASE_URL=postgres://shop@127.0.0.1:1/shop\nREDIS_URL=wrong\n", "celery.py": "raise SystemExit(1)\n"}


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None, statuses: tuple[int, ...] = (0,)) -> str:
    """Run a command and return its output; fail with all that it said unless it ends with one of these statuses."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode in statuses, f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel. The sources are copied: building leaves files beside them."""
    directory = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        shutil.copy(REPOSITORY / name, directory)
    for name in (*PACKAGES, *MOVED):
        shutil.copytree(REPOSITORY / name, directory / name, ignore=LEFT_BEHIND)
    # Build isolation downloads setuptools.
    own = ["--no-isolation"] if importlib.util.find_spec("setuptools") else []
    run(sys.executable, "-m", "build", "--wheel", *own, cwd=directory)
    (built,) = directory.glob("dist/*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel in it; its dependencies are those of the tests' own."""
    directory = tmp_path_factory.mktemp("installed") / "environment"
    uv = (sys.executable, "-m", "uv", "--quiet")
    run(*uv, "venv", "--python", sys.executable, directory, cwd=REPOSITORY)
    python = directory / "bin" / "python"
    # With byte code, as pip installs it: else each of the processes that `zenith up` starts at once would compile all.
    run(*uv, "pip", "install", "--compile-bytecode", "--no-deps", "--python", python, wheel, cwd=REPOSITORY)
    (place,) = directory.glob("lib/*/site-packages")
    (place / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return directory


@pytest.fixture(scope="module")
def elsewhere(environment: Path) -> Path:
    """The directory of a stranger's application, within reach of PostgreSQL's user."""
    directory = environment.parent / "shop"
    directory.mkdir()
    for parent in (directory, directory.parent, directory.parent.parent):
        parent.chmod(0o711)
    for name, content in STRANGERS.items():
        (directory / name).write_text(content)
    return directory


@pytest.fixture(scope="module")
def variables(environment: Path) -> dict[str, str]:
    """The variables of a user who has set none of Zenith's."""
    ours = ("ZENITH_", "DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE", "PORT", "PYTHON", "VIRTUAL_ENV", "TESTS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def zenith(environment: Path, elsewhere: Path, variables: dict[str, str]) -> Callable[..., str]:
    """Runs `zenith` with some arguments."""
    return functools.partial(run, environment / "bin" / "zenith", cwd=elsewhere, env=variables)


@pytest.fixture(scope="module")
def site(environment: Path, elsewhere: Path, variables: dict[str, str]) -> Iterator[str]:
    """The address of what `zenith up` has started in that directory, and stops after the tests."""
    port, log = free_port(), elsewhere / "up.log"
    command = [environment / "bin" / "zenith", "up", "--port", str(port), "--concurrency", "1", "--no-agent", "--no-first-batch"]
    with log.open("wb") as output:
        up = subprocess.Popen(
            command, cwd=elsewhere, env=variables, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        eventually(lambda: "Zenith is up" in log.read_text() or up.poll() is not None, within=80, but=log.read_text)
        assert up.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{port}"
        up.send_signal(signal.SIGINT)
        assert up.wait(PATIENCE) == 0, log.read_text()
    finally:
        up.kill()
        up.wait()


def get(url: str) -> str:
    """Return what an address answers."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 (the address is ours)
        return str(answer.read().decode())


def test_the_wheel_holds_every_file_and_shares_none_with_another_distribution(wheel: Path) -> None:
    kept = {".py", ".sql", ".lua", ".typed"}
    expected = {
        str(MOVED.get(name, name) / path.relative_to(REPOSITORY / name))
        for name in (*PACKAGES, *MOVED)
        for path in (REPOSITORY / name).rglob("*")
        if path.is_file() and not {"__pycache__", "build"} & set(path.parts)
        if path.suffix in kept
        or name in {"static", "templates"}
        or (name, path.suffix, path.parent.name) == ("docs", ".md", "docs")
    }
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert found == expected
    assert {name.partition("/")[0] for name in found} == set(PACKAGES)


def test_it_is_installed_with_the_versions_of_requirements_txt(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    metadata = message_from_string(archive.read(f"zenith_celery-{VERSION}.dist-info/METADATA").decode())
    required = [Requirement(line) for line in metadata.get_all("Requires-Dist") or ()]
    pins = [
        Requirement(line)
        for name in ("requirements.txt", "requirements-embedded.txt")
        for line in (REPOSITORY / name).read_text().splitlines()
    ]
    assert {one for one in required if "extra ==" not in str(one.marker)} == set(pins)
    assert (metadata["Name"], metadata["Version"], metadata["Requires-Python"]) == (DISTRIBUTION, VERSION, ">=3.11")


def test_nothing_of_it_comes_from_the_clone(environment: Path, elsewhere: Path, variables: dict[str, str]) -> None:
    code = "import json, sys, zenith_site, zenith_worker, tasks_app, infra_app; m = sys.modules; " + (
        "print(json.dumps([m[n].__file__ for n in ('zenith_site', 'zenith_worker', 'tasks_app', 'infra_app')] + sys.path))"
    )
    *files, _ = found = json.loads(run(environment / "bin" / "python", "-P", "-c", code, cwd=elsewhere, env=variables))
    assert all(file.startswith(str(environment)) for file in files[:4]), files
    assert {str(REPOSITORY), str(REPOSITORY.resolve())}.isdisjoint(found)


def test_its_pages_have_their_style(site: str) -> None:
    page = get(f"{site}/login/")
    styles = re.findall(r'rel="stylesheet" href="(/static/css/[^"]+)"', page)
    assert styles, page[:2000]
    assert "{" in get(site + styles[0])


def test_its_commands_run_tasks_and_find_nothing_wrong(site: str, zenith: Callable[..., str]) -> None:
    assert "1 SUCCESS" in zenith("dispatch", "analyze_text", "--data", "One two.", "--wait")
    assert "analyze_text" in zenith("tasks", "--status", "success")
    assert "zenith" in zenith("applications")
    # It warns of the packaged Redis.
    assert "ok versions" in zenith("doctor", statuses=(0, 1))


def test_it_keeps_its_data_in_the_directory_in_which_it_was_started(site: str, elsewhere: Path) -> None:
    assert {path.name for path in elsewhere.iterdir()} == {*STRANGERS, ".zenith", "up.log"}


@pytest.mark.parametrize("arguments", [("migrate", "--help"), ("up", "--help"), ("create_token", "--help")])
def test_a_command_names_itself_as_it_was_called(zenith: Callable[..., str], arguments: tuple[str, ...]) -> None:
    assert zenith(*arguments).startswith(f"usage: zenith {arguments[0]} ")
