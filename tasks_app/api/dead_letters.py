"""`/api/v1/dead-letters`: list dead letters, one by one or in groups, replay them and discard them."""

from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from ninja import Query, Router

from tasks_app.api.dead_letter_schemas import (
    Choice,
    DeadLetterAnswer,
    DeadLetterDetail,
    DiscardAnswer,
    DiscardRequest,
    GroupAnswer,
    ReplayAnswer,
    ReplayRequest,
    RunAnswer,
)
from tasks_app.api.quota import admit_trigger
from tasks_app.dispatch import replay as replaying
from tasks_app.dispatch.create import Origin
from tasks_app.models import ReplayRun
from tasks_app.queries import dead_letters
from tasks_app.queries.dead_letters import DeadLetterFilter
from zenith_site.auth.api import requires
from zenith_site.common.callers import OPERATE, VIEW, Shows, audit_details, authorize, known_caller
from zenith_site.common.errors import InvalidInputError, Problem, StateConflictError
from zenith_site.common.idempotency import IdempotencyKey, answer_once
from zenith_site.common.paging import link_next, refuse_unknown

router = Router(tags=["dead letters"])


@router.get("", response=list[DeadLetterAnswer], summary="List dead letters, newest first", operation_id="list_dead_letters")
def list_letters(request: HttpRequest, response: HttpResponse, query: Query[DeadLetterFilter]) -> list[DeadLetterAnswer]:
    """Return one page. The header `Link: <…>; rel="next"` points to the next page, if any."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    refuse_unknown(request, DeadLetterFilter)
    page = query.limited_to(caller.applications).page()
    link_next(request, response, page.following)
    return [DeadLetterAnswer.of(item) for item in page.letters]


@router.get("/groups", response=list[GroupAnswer], summary="List groups of dead letters", operation_id="list_dead_letter_groups")
def list_groups(request: HttpRequest, response: HttpResponse, query: Query[DeadLetterFilter]) -> list[GroupAnswer]:
    """Return one page of groups with the number of dead letters that match; the group with the newest failure comes first."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    refuse_unknown(request, DeadLetterFilter)
    page = query.limited_to(caller.applications).groups()
    link_next(request, response, page.following)
    return [GroupAnswer.of(group) for group in page.groups]


@router.post(
    "/replay",
    response=ReplayAnswer,
    summary="Replay dead letters",
    operation_id="replay_dead_letters",
    auth=requires(OPERATE, Shows.FILTERED),
)
def replay(request: HttpRequest, response: HttpResponse, body: ReplayRequest, idempotency_key: IdempotencyKey = None) -> Any:
    """Dispatch a new task in place of each dead one.

    A dead letter is replayed once: repeating a request does nothing, or returns 409 if it lists ids.
    With `first`, with `rate`, or for a thousand dead letters or more, the engine replays them in a run.
    A `forced` request can be repeated without limit, so it counts as a trigger.
    """
    caller = known_caller(request)
    body = body.limited_to(caller.applications)
    _refuse_unknown_ids(body)
    if body.forced:
        admit_trigger(request, caller)

    def act() -> ReplayAnswer:
        result = replaying.replay(body.to_replay(), Origin.of(caller, "api"))
        audit_details(request, replayed=len(result.done), run=str(result.run.id) if result.run else None)
        if body.ids and not result.done and result.run is None:
            raise StateConflictError("All of these were already replayed or discarded; `forced` replays them anyway.")
        return ReplayAnswer.of(result)

    return answer_once(request, response, caller, idempotency_key, body, act)


@router.post(
    "/discard",
    response=DiscardAnswer,
    summary="Discard dead letters",
    operation_id="discard_dead_letters",
    auth=requires(OPERATE, Shows.FILTERED),
)
def discard(request: HttpRequest, body: DiscardRequest) -> DiscardAnswer:
    """Discard open dead letters, with an optional note. Their tasks and errors stay."""
    caller = known_caller(request)
    body = body.limited_to(caller.applications)
    _refuse_unknown_ids(body)
    discarded = replaying.discard(body.selection(), body.note, Origin.of(caller, "api"))
    audit_details(request, discarded=discarded)
    if body.ids and not discarded:
        raise StateConflictError("All of these were already replayed or discarded.")
    return DiscardAnswer(discarded=discarded)


@router.get("/runs/{run_id}", response=RunAnswer, summary="Show a replay run", operation_id="show_replay_run")
def show_run(request: HttpRequest, run_id: str) -> RunAnswer:
    """Return the run's progress."""
    authorize(request, VIEW, Shows.EVERYTHING)
    return RunAnswer.of(_run(run_id))


@router.post(
    "/runs/{run_id}/stop",
    response=RunAnswer,
    summary="Stop a replay run",
    operation_id="stop_replay_run",
    auth=requires(OPERATE, Shows.EVERYTHING),
)
def stop_run(request: HttpRequest, run_id: str) -> RunAnswer:
    """Stop the run early. Tasks that it has already dispatched continue."""
    caller = known_caller(request)
    run = _run(run_id)
    if not replaying.stop_run(run.id, Origin.of(caller, "api")):
        raise StateConflictError("This run has already ended.")
    run.refresh_from_db()
    return RunAnswer.of(run)


@router.get("/{name:task_id}", response=DeadLetterDetail, summary="Show one dead letter", operation_id="show_dead_letter")
def show_letter(request: HttpRequest, task_id: str) -> DeadLetterDetail:
    """Return the dead letter of the task with this id, including its arguments and traceback."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    letter = dead_letters.find(task_id, caller.applications)
    if letter is None:
        raise Http404(f"Task {task_id[:100]!r} has no dead letter.")
    return DeadLetterDetail.of(letter)


def _refuse_unknown_ids(body: Choice) -> None:
    """Raise InvalidInputError with each id that has no dead letter: a typo must not look like a letter that was replayed."""
    known_keys = {*body.selection().query().values_list("task_id", flat=True)} if body.ids else set()
    unknown = [index for index, key in enumerate(body.keys()) if key not in known_keys]
    if unknown:
        raise InvalidInputError(*(Problem(f"/ids/{index}", "no task with this id has a dead letter") for index in unknown))


def _run(run_id: str) -> ReplayRun:
    return get_object_or_404(ReplayRun, pk=_parse_id(run_id))


def _parse_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Http404(f"There is no replay run {text[:100]!r}.") from None
