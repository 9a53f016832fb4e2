"""What of the suites runs, in parts beside each other, and which of their tests are not expected to pass, and why."""

from __future__ import annotations

from typing import NamedTuple


class Part(NamedTuple):
    """Some tests of a package's suite, by their names below t/integration; `at_least` so many must pass."""

    package: str
    name: str
    tests: tuple[str, ...]
    at_least: int

    @property
    def files(self) -> set[str]:
        """The files that these tests lie in."""
        return {test.partition("::")[0] for test in self.tests}


_CANVAS = "test_canvas.py::"
PARTS = (
    Part("celery", "chords", (f"{_CANVAS}test_chord",), 55),
    Part("celery", "chains", (f"{_CANVAS}test_link_error", f"{_CANVAS}test_chain", f"{_CANVAS}test_result_set"), 40),
    Part(
        "celery",
        "groups and stamps",
        tuple(
            _CANVAS + name
            for name in ("test_group", "test_xmap_xstarmap", "test_signature_serialization", "test_stamping_mechanism")
        ),
        40,
    ),
    Part("celery", "tasks", ("test_tasks.py",), 40),
    Part("celery", "results and workers", ("test_redis_backend.py", "test_group_chains.py", "test_inspect.py"), 35),
    Part("kombu", "transport", ("test_redis.py", "test_redis_brpop_qos.py"), 90),
)

_SENT_TWICE = "it sends frozen ids a second time, and an id that has ended does not run again (docs/celery.md)"
_LATE = "by design: it asks for `acknowledged`, and late acknowledgement is the default"
_STOCK = "it fails on stock Celery here as well"
#: Tests that are not expected to pass: a name without parameters stands for all of them. Those that wait for what never comes
#: run in `make test-long` only.
NOT_EXPECTED = {
    "test_canvas.py::test_chord::test_reapplying_frozen_chord_dispatches_body_again": _SENT_TWICE,
    "test_canvas.py::test_chord::test_mutable_errback_called_by_chord_from_chain": _SENT_TWICE,
    "test_canvas.py::test_chord::test_mutable_errback_called_by_chord_from_group": _SENT_TWICE,
    "test_tasks.py::test_tasks::test_soft_time_limit_exceeding_time_limit": "by design: such a soft limit is lowered",
    "test_tasks.py::test_trace_log_arguments": _STOCK,
    "test_tasks.py::test_task_replacement::test_replaced_task_nesting_level_0": _STOCK,
    "test_inspect.py::test_Inspect::test_active": _LATE,
    "test_inspect.py::test_Inspect::test_query_task": _LATE,
    "test_redis.py::test_RedisPublishBatch::test_retry_on_timeout_keeps_publication_immediate": (
        "by design: a connection of this transport never sends a pipeline twice, whatever its options say"
    ),
}
#: Tests that pass and take long by their own time-outs: only in `make test-long`.
ONLY_WHEN_LONG = (
    "test_canvas.py::test_chord::test_disabling_flag_allow_error_cb_on_chord_header",
    "test_canvas.py::test_chord::test_enabling_flag_allow_error_cb_on_chord_header",
    "test_canvas.py::test_chord::test_flag_allow_error_cb_on_chord_header_on_upgraded_chord",
    "test_canvas.py::test_chord::test_error_propagates_from_chord",
    "test_canvas.py::test_chord::test_large_header",
    "test_canvas.py::test_chord::test_chain_to_a_chord_with_large_header",
    "test_canvas.py::test_chord::test_nested_chord_header_link_error",
    "test_canvas.py::test_group::test_large_group",
    "test_group_chains.py::test_group_chains::test_large_group_pipeline",
    "test_redis.py::test_RedisQueueExpiration",
)
