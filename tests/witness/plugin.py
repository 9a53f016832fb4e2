"""A pytest plugin that the suites run under (`-p tests.witness.plugin`): their application is Zenith's.

Transport and consumer come from the configuration that source.py writes beside Celery's suite. What a configuration cannot say is
said here: the result backend, the class of tasks, with automatic retries off, and the worker's state reporter. For kombu's,
`redis:` means Zenith's transport. A test that takes too long fails, so that one that waits for ever does not stop the others.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any, ClassVar

import kombu.transport
import pytest
from celery.loaders.base import BaseLoader
from celery.worker.consumer import Consumer

from zenith_worker import signals
from zenith_worker.task import ZenithTask
from zenith_worker.wire import client

assert signals
#: Seconds for one test; in `make test-long` more, for those that run only there.
LIMIT = 300 if os.environ.get("ZENITH_WITNESS") == "long" else 90

client.configure(os.environ["TEST_BACKEND"])
kombu.transport.TRANSPORT_ALIASES["redis"] = "zenith_worker.wire.transport:Transport"
BaseLoader.override_backends = {"redis": "zenith_worker.backend:ZenithBackend"}
Consumer.Blueprint.default_steps.append("zenith_worker.state_reporter:StateReporter")


class PatientTask(ZenithTask):
    """Zenith's task, of which nothing is retried by itself: what the suite's tasks raise is meant."""

    no_retry_for: ClassVar[tuple[type[BaseException], ...]] = (Exception,)


@pytest.fixture(scope="session")
def celery_parameters() -> dict[str, Any]:
    """What the suite's applications are made with."""
    return {"task_cls": f"{__name__}:PatientTask"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """End a test that takes too long."""

    def late(*_: object) -> None:
        raise TimeoutError(f"it took longer than {LIMIT} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
