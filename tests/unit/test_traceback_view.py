"""Tracebacks to read: the project's own innermost frame first, libraries folded."""

from __future__ import annotations

import sys
import traceback

from tasks_app.web.traceback_view import MOST_FRAMES, TracebackView, parse_traceback

TEXT = """Traceback (most recent call last):
  File "/srv/venv/lib/python3.11/site-packages/celery/app/trace.py", line 453, in trace_task
    R = retval = fun(*args, **kwargs)
                 ^^^^^^^^^^^^^^^^^^^^
  File "/srv/app/tasks.py", line 41, in run
    return render(load(customer), month)
  File "/srv/venv/lib/python3.11/site-packages/cache/memo.py", line 7, in memoised
    return function(*args)
  File "/srv/app/pdf.py", line 112, in load
    return session.get(source)
  File "/srv/venv/lib/python3.11/site-packages/upstream/client.py", line 88, in get
    raise Refused(
  File "/usr/lib/python3.11/socket.py", line 1, in connect
upstream.Refused: not today
  and not tomorrow
"""


def taken_apart(text: str) -> TracebackView:
    found = parse_traceback(text)
    assert found is not None
    return found


def test_the_innermost_own_frame_is_the_culprit() -> None:
    culprit = taken_apart(TEXT).culprit
    assert culprit is not None
    assert (culprit.file, culprit.line, culprit.function, culprit.code) == (
        "/srv/app/pdf.py", "112", "load", "return session.get(source)",
    )  # fmt: skip


def test_what_libraries_did_below_it_is_kept_apart() -> None:
    assert [frame.function for frame in taken_apart(TEXT).inside] == ["connect", "get"]


def test_callers_go_outwards_libraries_in_one_fold_each() -> None:
    runs = taken_apart(TEXT).callers
    assert [(run.foreign, [frame.function for frame in run.frames]) for run in runs] == [
        (True, ["memoised"]), (False, ["run"]), (True, ["trace_task"]),
    ]  # fmt: skip


def test_the_error_is_whole() -> None:
    assert taken_apart(TEXT).error == "upstream.Refused: not today\n  and not tomorrow"


def test_of_a_chain_the_last_error_is_shown_and_the_text_has_all() -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error
    except ValueError:
        found = taken_apart(traceback.format_exc())
    assert found.chained
    assert found.error == "ValueError: second"
    assert "KeyError" in found.text
    assert found.culprit is not None
    assert found.culprit.code == 'raise ValueError("second") from error'


def test_where_all_frames_are_foreign_there_is_no_culprit() -> None:
    found = taken_apart(
        'Traceback (most recent call last):\n  File "/usr/lib/python3.11/json/x.py", line 1, in loads\nValueError: no\n'
    )
    assert found.culprit is None
    assert [frame.function for run in found.callers for frame in run.frames] == ["loads"]


def test_a_recursion_keeps_its_innermost_frames() -> None:
    frames = "".join(f'  File "/srv/app/deep.py", line {number}, in down\n    down()\n' for number in range(500))
    found = taken_apart(f"Traceback (most recent call last):\n{frames}RecursionError: too deep\n")
    assert sum(len(run.frames) for run in found.callers) == MOST_FRAMES - 1
    assert found.culprit is not None
    assert found.culprit.line == "499"


def test_a_text_without_frames_is_an_error_and_no_text_is_nothing() -> None:
    found = taken_apart("Worker exited prematurely: signal 9 (SIGKILL)")
    assert (found.culprit, found.callers, found.error) == (None, [], "Worker exited prematurely: signal 9 (SIGKILL)")
    assert parse_traceback(" \n") is None


def test_the_real_ones_of_this_python_are_understood() -> None:
    try:
        int("x")
    except ValueError:
        found = taken_apart("".join(traceback.format_exception(*sys.exc_info())))
    assert found.error.startswith("ValueError: invalid literal")
    assert found.culprit is not None
    assert found.culprit.function == "test_the_real_ones_of_this_python_are_understood"
