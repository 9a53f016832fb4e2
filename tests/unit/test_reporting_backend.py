"""Outcomes of an attached application are reported, and nothing of what its result backend does changes."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, states
from celery.app.task import Context
from celery.backends.base import BaseBackend, DisabledBackend
from kombu.exceptions import EncodeError

from zenith_worker.reporting_backend import with_reports
from zenith_worker.reports import Reports
from zenith_worker.wire.events import Event


class Told(Reports):
    """Keeps what is reported, or cannot."""

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__(self)  # type: ignore[arg-type]
        self.events: list[Event] = []
        self._broken = broken

    def add(self, *events: Event) -> None:
        if self._broken:
            raise RuntimeError("no report")
        self.events += events

    @property
    def told(self) -> list[tuple[str, str, str | None]]:
        return [(event.task_id, event.status.value, event.error_type or event.result) for event in self.events]


class Stored(BaseBackend):
    """A company's own backend, which stores in memory and refuses what is not text."""

    kept: dict[str, tuple[str, Any]]
    parts: list[str]

    def store_result(self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **_: Any) -> Any:
        if state == states.SUCCESS and not isinstance(result, str):
            raise EncodeError("not text")
        self.kept[task_id] = (state, result)
        return result

    def on_chord_part_return(self, request: Any, state: str, result: Any, **_: Any) -> None:
        self.parts.append(f"{request.id} after {len(self.reports.events)}")  # type: ignore[attr-defined]


@pytest.fixture
def app() -> Celery:
    return Celery("shop", set_as_current=False, broker="memory://")


def stored(app: Celery, reports: Any) -> Any:
    backend = Stored(app=app)
    backend.kept, backend.parts = {}, []
    return with_reports(backend, reports)


def request(id_: str = "one", **more: Any) -> Context:
    return Context({"id": id_, "task": "shop.add", "args": [1], "kwargs": {}, "hostname": "w", **more})


def test_the_object_stays_and_looks_as_before(app: Celery) -> None:
    backend = DisabledBackend(app=app)
    assert with_reports(backend, Told()) is backend
    assert isinstance(backend, DisabledBackend)
    assert (type(backend).__name__, type(backend).__module__) == ("DisabledBackend", "celery.backends.base")
    kind = type(backend)
    assert type(with_reports(backend, Told())) is kind, "once is enough"


def test_a_success_is_reported_after_it_is_stored_and_before_its_part_of_a_chord(app: Celery) -> None:
    reports = Told()
    backend = stored(app, reports)
    backend.mark_as_done("one", "fine", request(chord={"task": "shop.total"}))
    assert reports.told == [("one", "SUCCESS", '"fine"')]
    assert backend.kept == {"one": ("SUCCESS", "fine")}
    assert backend.parts == ["one after 1"]


def test_a_success_that_cannot_be_stored_is_only_the_failure_that_follows(app: Celery) -> None:
    reports = Told()
    backend = stored(app, reports)
    with pytest.raises(EncodeError, match="not text"):
        backend.mark_as_done("one", 3, request())
    assert not reports.told
    backend.mark_as_failure("one", EncodeError("not text"), request=request())
    assert reports.told == [("one", "FAILURE", "EncodeError")]
    assert backend.kept["one"][0] == "FAILURE"


@pytest.mark.parametrize("kind", [DisabledBackend, Stored])
def test_ignored_results_are_reported_all_the_same(app: Celery, kind: type[BaseBackend]) -> None:
    reports = Told()
    backend = with_reports(kind(app=app), reports)
    backend.mark_as_done("one", "fine", request(ignore_result=True), store_result=False)
    backend.mark_as_failure("two", ValueError("no"), request=request("two"), store_result=False)
    assert reports.told == [("one", "SUCCESS", '"fine"'), ("two", "FAILURE", "ValueError")]


def test_only_the_worker_that_has_a_task_reports_it_as_revoked(app: Celery) -> None:
    reports = Told()
    backend = stored(app, reports)
    backend.mark_as_revoked("one", reason="revoked", store_result=True)
    assert backend.kept["one"][0] == "REVOKED", "stored as ever"
    assert not reports.told, "it may be running, and succeed"
    backend.mark_as_revoked("one", "revoked", request=request())
    assert reports.told == [("one", "REVOKED", "TaskRevokedError")]


def test_what_runs_in_its_caller_is_not_reported(app: Celery) -> None:
    reports = Told()
    stored(app, reports).mark_as_done("one", "fine", request(is_eager=True))
    assert not reports.told


def test_a_report_that_cannot_be_made_changes_nothing(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    backend = stored(app, Told(broken=True))
    backend.mark_as_done("one", "fine", request(chord={"task": "shop.total"}))
    assert backend.kept == {"one": ("SUCCESS", "fine")}
    assert backend.parts == ["one after 0"]
    assert "could not be made" in caplog.text


def test_a_backend_whose_class_cannot_be_replaced_works_as_before(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    class Fixed:
        __slots__ = ("kept",)

    backend = Fixed()
    assert with_reports(backend, Told()) is backend
    assert type(backend) is Fixed
    with_reports(Fixed(), Told())
    assert caplog.text.count("cannot be reported to Zenith") == 1


def test_the_later_tasks_of_a_failed_chain_will_not_run(app: Celery) -> None:
    reports = Told()
    later = {"task": "shop.add", "args": [2], "kwargs": {}, "options": {"task_id": "later"}, "subtask_type": None}
    stored(app, reports).mark_as_failure("one", ValueError("no"), request=request(chain=[later]))
    assert [(event.task_id, event.status.value, event.name) for event in reports.events] == [
        ("one", "FAILURE", "shop.add"), ("later", "REVOKED", "shop.add"),
    ]  # fmt: skip
    assert reports.events[1].message == "not run: a task before it in its chain ended in FAILURE (ValueError: no)"


def test_a_result_of_any_kind_can_be_told(app: Celery) -> None:
    reports = Told()
    backend = with_reports(DisabledBackend(app=app), reports)
    backend.mark_as_done("one", {1, 2}.union, request())
    backend.mark_as_done("two", "x" * 2**21, request("two"))
    assert "built-in method union" in (reports.events[0].result or "")
    assert len(reports.events[1].result or "") < 20_000
