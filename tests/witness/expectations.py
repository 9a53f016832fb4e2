"""What of the suites runs, in parts beside each other, and which of their tests are not expected to pass, and why.

Of Celery's, `test_backend.py`, `test_cache_backend.py`, `test_database_backend.py` and `test_backend_leak_in_fixture_teardown.py`
are not among them: they are about other backends and brokers.
"""

from __future__ import annotations

from typing import NamedTuple


class Part(NamedTuple):
    """Some tests of a package's suite, by their names below `directory`; `at_least` so many must pass.

    They run under one of this directory's plugins: `plugin` for what Celery's workers and Redis do, `stored_results` for what
    PostgreSQL keeps.
    """

    package: str
    name: str
    tests: tuple[str, ...]
    at_least: int
    directory: str = "t/integration"
    plugin: str = "plugin"
    only_when_long: bool = False

    @property
    def files(self) -> set[str]:
        """The files that these tests lie in."""
        return {test.partition("::")[0] for test in self.tests}


_CANVAS = "test_canvas.py::"
_STORED = "test_database.py::test_DatabaseBackend"
# The first one makes workers in its own process, after which nothing may wait for a result until another is started.
_REST = (
    "test_worker.py", "test_beat.py", "test_connection_recovery.py", "test_events_state_memory_leak.py", "test_loader.py",
    "test_logfile_format.py", "test_mem_leak_in_exception_handling.py", "test_request_backend_down.py", "test_security.py",
    "test_serialization.py", "test_upgrade.py",
)  # fmt: skip
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
    Part("celery", "beat, commands and recovery", _REST, 50, only_when_long=True),
    Part("kombu", "transport", ("test_redis.py", "test_redis_brpop_qos.py"), 90),
    Part("django_celery_results", "stored results", (_STORED,), 4, "t/unit/backends", "stored_results"),
)

_SENT_TWICE = "it sends frozen ids a second time, and an id that has ended does not run again (docs/celery.md)"
_LATE = "by design: it asks for `acknowledged`, and late acknowledgement is the default"
_STOCK = "it fails on stock Celery here as well"
_BY_CHANCE = "by chance, on stock as well: it resets its own outcome after it has sent the task"
_OLD_REQUEST = "it fails on stock as well: it makes a request whose task is a text, which Celery 5.7 refuses"
_NOT_PICKLED = "by design: results are JSON, and nothing that is pickled is loaded"
_AS_JSON = "by design: arguments are kept as the task's row has them, JSON with secrets masked, and not as Python prints them"
_WRITTEN_AT_THE_END = "by design: a result's row is written at the end; until then Redis and the task's own row know"
_COUNTED_IN_REDIS = "by design: chords are counted in Redis, by Celery's own backend, and not in PostgreSQL"
#: Tests that are not expected to pass: a name without parameters stands for all of them. Those that wait for what never comes
#: run in `make test-long` only.
NOT_EXPECTED = {
    "test_canvas.py::test_chord::test_reapplying_frozen_chord_dispatches_body_again": _SENT_TWICE,
    "test_canvas.py::test_chord::test_mutable_errback_called_by_chord_from_chain": _SENT_TWICE,
    "test_canvas.py::test_chord::test_mutable_errback_called_by_chord_from_chain_tail": _SENT_TWICE,
    "test_canvas.py::test_chord::test_mutable_errback_called_by_chord_from_group": _SENT_TWICE,
    "test_tasks.py::test_tasks::test_soft_time_limit_exceeding_time_limit": "by design: such a soft limit is lowered",
    "test_tasks.py::test_trace_log_arguments": _STOCK,
    "test_tasks.py::test_task_replacement::test_replaced_task_nesting_level_0": _BY_CHANCE,
    "test_inspect.py::test_Inspect::test_active": _LATE,
    "test_inspect.py::test_Inspect::test_query_task": _LATE,
    **dict.fromkeys(
        (f"{_STORED}::test_backend__pickle_serialization__{kind}_result__protocol_1" for kind in ("dict", "str", "bytes")),
        _OLD_REQUEST,
    ),
    **dict.fromkeys(
        (f"{_STORED}::test_backend__json_serialization__{kind}_result__protocol_1" for kind in ("dict", "str")), _OLD_REQUEST
    ),
    **dict.fromkeys((f"{_STORED}::test_secrets__{kind}_serialization__protocol_1" for kind in ("pickle", "json")), _OLD_REQUEST),
    f"{_STORED}::test_backend__task_result_meta_injection": _OLD_REQUEST,
    **dict.fromkeys(
        (f"{_STORED}::test_backend__pickle_serialization__{kind}_result" for kind in ("dict", "str", "bytes")), _NOT_PICKLED
    ),
    f"{_STORED}::test_secrets__pickle_serialization": _NOT_PICKLED,
    **dict.fromkeys((f"{_STORED}::test_backend__json_serialization__{kind}_result" for kind in ("dict", "str")), _AS_JSON),
    f"{_STORED}::test_secrets__json_serialization": _AS_JSON,
    f"{_STORED}::test_backend_result_extended_is_false": "by design: a task's name and arguments are kept in any case",
    f"{_STORED}::test_backend__task_result_date": _WRITTEN_AT_THE_END,
    f"{_STORED}::test_apply_chord_header_result_arg": _COUNTED_IN_REDIS,
    **dict.fromkeys(
        (f"{_STORED}::test_on_chord_part_return{case}" for case in ("", "_counter_not_found", "_failure")), _COUNTED_IN_REDIS
    ),
    f"{_STORED}::test_callback_failure": _COUNTED_IN_REDIS,
    "test_redis.py::test_RedisPublishBatch::test_retry_on_timeout_keeps_publication_immediate": (
        "by design: a connection of this transport never sends a pipeline twice, whatever its options say"
    ),
}
#: Those of them that may pass as well.
MAY_PASS = {name for name, reason in NOT_EXPECTED.items() if reason == _BY_CHANCE}
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
