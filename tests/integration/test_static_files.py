"""The files as they are served: what a page or a module asks for is there, under the name that it asks by."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command

from zenith_site import settings as site_settings

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper

#: What follows `from` in an import of a module that lies beside it.
IMPORTED = re.compile(r"""^import\b[^"']*from\s*["'](\.[^"']+)["']""", re.MULTILINE)


@pytest.fixture
def collected(settings: SettingsWrapper, tmp_path: Path) -> Path:
    """Where the files lie once they are collected as for a start of Zenith."""
    settings.STORAGES = site_settings.STORAGES
    settings.STATIC_ROOT = tmp_path
    call_command("collectstatic", interactive=False, verbosity=0)
    return tmp_path


def test_what_a_module_imports_is_there_under_that_name(collected: Path) -> None:
    modules = list(collected.glob("js/*.js"))
    imports = [(module, name) for module in modules for name in IMPORTED.findall(module.read_text())]
    assert imports
    missing = [f"{module.name} imports {name}" for module, name in imports if not (module.parent / name).is_file()]
    assert missing == []
