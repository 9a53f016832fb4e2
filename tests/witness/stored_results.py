"""A pytest plugin that django-celery-results' tests of its backend run under (`-p tests.witness.stored_results`)."""

from __future__ import annotations

from collections.abc import Iterable

import pytest


def pytest_collection_modifyitems(items: Iterable[pytest.Function]) -> None:
    """Let the tests meet Zenith's backend where they name their own. Models can be imported only now."""
    from tests.witness.recorded import RecordedBackend

    for item in items:
        vars(item.module)["DatabaseBackend"] = RecordedBackend
