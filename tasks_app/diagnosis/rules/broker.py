"""Rules about the broker and the result backend: whether they lose messages or results, or deliver them twice."""

from collections.abc import Iterator
from typing import Final

from tasks_app.diagnosis.facts import RABBITMQ, REDIS, Facts
from tasks_app.diagnosis.findings import Finding, Severity, Subject, counted, listed, rule
from zenith_site.common.humanize import rough_duration, size

#: Redis' policy that evicts nothing.
NO_EVICTION: Final = "noeviction"
#: The share of maxmemory in use above which there is a warning.
FULL: Final = 0.8


def _longest_unacknowledged(facts: Facts) -> tuple[float, str]:
    """Return how long a message may stay unacknowledged, and why."""
    eta = facts.longest_eta or 0.0
    # What is acknowledged before it runs is not delivered again while it runs.
    runtime = facts.longest_runtime or 0.0 if _acknowledges_late(facts) else 0.0
    if eta >= runtime:
        return eta, f"a worker holds a task for {rough_duration(eta)} until its ETA"
    return runtime, f"tasks run for up to {rough_duration(runtime)} before they are acknowledged"


def _acknowledges_late(facts: Facts) -> bool:
    return any(worker.settings is not None and worker.settings.acks_late for worker in facts.online)


@rule(
    "visibility-timeout", "Redis does not deliver a message again while its task waits for its ETA or runs.",
    lambda facts: facts.broker.visibility_timeout is not None and (facts.longest_eta, facts.longest_runtime) != (None, None),
)  # fmt: skip
def visibility_timeout(facts: Facts) -> Iterator[Finding]:
    """The visibility timeout is shorter than the longest ETA or runtime, so tasks run twice."""
    timeout = facts.broker.visibility_timeout
    longest, why = _longest_unacknowledged(facts)
    if timeout is not None and longest >= timeout:
        yield Finding(
            rule="visibility-timeout",
            severity=Severity.ERROR,
            title="Tasks run twice: the visibility timeout is too short",
            sentence=f"Redis delivers a message again after {rough_duration(timeout)}, but {why}. The same task is then given to"
            " another worker and runs twice.",
            proof=f"visibility_timeout is {timeout:,.0f} s in broker_transport_options (default: 3,600 s).",
            mend=f"Set broker_transport_options = {{'visibility_timeout': {int(2 * longest)}}} in every worker and sender, or"
            " schedule tasks without a long ETA.",
            subject=Subject.BROKER,
        )


@rule(
    "lost-early-acknowledged", "No task was lost with its worker.", lambda facts: facts.lost is not None
)  # fmt: skip
def lost_early_acknowledged(facts: Facts) -> Iterator[Finding]:
    """Tasks ran on workers that are gone; what was acknowledged before it ran does not come back."""
    lost = [tasks for tasks in facts.lost or () if tasks.acknowledged_early and tasks.number]
    if lost:
        number, workers = sum(tasks.number for tasks in lost), listed([tasks.worker for tasks in lost])
        yield Finding(
            rule="lost-early-acknowledged",
            severity=Severity.ERROR,
            title="Tasks were lost with their worker",
            sentence=f"{counted(number, 'task')} {'was' if number == 1 else 'were'} running on {workers}, which"
            f" {'is' if len(lost) == 1 else 'are'} gone. {'Its message was' if number == 1 else 'Their messages were'}"
            f" acknowledged before {'it' if number == 1 else 'they'} ran, so {'it does' if number == 1 else 'they do'} not come"
            " back.",
            proof="The tasks are STARTED, and their worker sends no heartbeats.",
            mend="Run them again if they are needed. So that it does not happen again: task_acks_late = True and"
            " task_reject_on_worker_lost = True for idempotent tasks.",
        )


@rule(
    "priorities-without-steps", "The broker tells apart the priorities that tasks have.",
    lambda facts: facts.priorities is not None
    and (facts.broker.priority_steps is not None or any(queue.max_priority is not None for queue in facts.queues or ())),
)  # fmt: skip
def priorities_without_steps(facts: Facts) -> Iterator[Finding]:
    """Tasks are sent with different priorities that the broker treats as one."""
    used = sorted(set(facts.priorities or ()))
    if len(used) < 2:
        return
    steps = facts.broker.priority_steps
    if steps is not None and len({max((step for step in steps if step <= one), default=0) for one in used}) == 1:
        yield Finding(
            rule="priorities-without-steps",
            severity=Severity.WARNING,
            title="Priorities have no effect",
            sentence=f"Tasks are sent with the priorities {listed(used, 10)}, but Redis keeps all of these in one list, so none"
            " of them goes first.",
            proof=f"priority_steps are {listed(steps, 10)}: a priority counts as the next lower step.",
            mend="Use priorities of different steps, or set broker_transport_options = {'priority_steps': list(range(10))} in"
            " every worker and sender.",
            subject=Subject.BROKER,
        )
    without = [queue.name for queue in facts.queues or () if queue.max_priority == 0 and queue.waiting is not None]
    if facts.broker.kind == RABBITMQ and without:
        yield Finding(
            rule="priorities-without-steps",
            severity=Severity.WARNING,
            title="Priorities have no effect",
            sentence=f"Tasks are sent with the priorities {listed(used, 10)}, but {listed(without)}"
            f" {'is' if len(without) == 1 else 'are'} declared without priorities, so RabbitMQ ignores them.",
            proof="rabbitmqctl list_queues name arguments shows no x-max-priority.",
            mend="Delete each queue while it is empty, and declare it again with queue_arguments={'x-max-priority': 10}"
            " (task_queue_max_priority).",
            subject=Subject.BROKER,
            queues=frozenset(without),
        )


@rule("eviction", "Redis evicts nothing.", lambda facts: facts.broker.eviction is not None)
def eviction(facts: Facts) -> Iterator[Finding]:
    """Redis may throw messages or results away when it is full."""
    policy, limit = facts.broker.eviction, facts.broker.memory_limit
    if policy is None or policy == NO_EVICTION:
        return
    # Queues have no expiry, so only the policies for all keys evict them; results have one.
    what = "messages" if policy.startswith("allkeys") else "results"
    when = (
        "once its memory is full" if limit is None else f"once it uses {size(limit)}" if limit else "once it gets a memory limit"
    )
    yield Finding(
        rule="eviction",
        severity=Severity.ERROR if what == "messages" and limit != 0 else Severity.WARNING,
        title=f"Redis may evict {what}",
        sentence=f"Redis runs with maxmemory-policy {policy}: {when}, it throws {what} away without a word"
        f"{', whole queues at once' if what == 'messages' else ', also those that a chord still needs'}.",
        proof="redis-cli CONFIG GET maxmemory-policy",
        mend="redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf. Keep caches in another Redis.",
        subject=Subject.BROKER,
    )


@rule(
    "broker-memory", "Redis has memory left.",
    lambda facts: facts.broker.memory_used is not None and facts.broker.memory_limit is not None,
)  # fmt: skip
def broker_memory(facts: Facts) -> Iterator[Finding]:
    """Redis is nearly full; once it is, it refuses what is sent."""
    used, limit = facts.broker.memory_used or 0, facts.broker.memory_limit or 0
    if limit and used > FULL * limit:
        yield Finding(
            rule="broker-memory",
            severity=Severity.WARNING,
            title="Redis is nearly full",
            sentence=f"Redis uses {size(used)} of its {size(limit)}, {100 * used / limit:.0f} %. Once it is full, sending a task"
            " fails.",
            proof="redis-cli INFO memory",
            mend="Find the long queue and what fills it, or raise maxmemory.",
            subject=Subject.BROKER,
        )


@rule("no-persistence", "The broker keeps messages over a restart.", lambda facts: facts.broker.persistent is not None)
def no_persistence(facts: Facts) -> Iterator[Finding]:
    """Redis writes nothing to disk."""
    if facts.broker.kind in (None, REDIS) and facts.broker.persistent is False:
        yield Finding(
            rule="no-persistence",
            severity=Severity.WARNING,
            title="Redis keeps nothing on disk",
            sentence="Redis has neither an append-only file nor snapshots: if it restarts, all waiting tasks are lost.",
            proof="redis-cli CONFIG GET appendonly and CONFIG GET save",
            mend="redis-cli CONFIG SET appendonly yes, and the same in redis.conf.",
            subject=Subject.BROKER,
        )


@rule(
    "classic-queues", "RabbitMQ replicates its queues.",
    lambda facts: any(queue.queue_type is not None for queue in facts.queues or ()),
)  # fmt: skip
def classic_queues(facts: Facts) -> Iterator[Finding]:
    """RabbitMQ keeps a classic queue on one node only."""
    classic = [queue.name for queue in facts.queues or () if queue.queue_type == "classic"]
    if classic:
        yield Finding(
            rule="classic-queues",
            severity=Severity.NOTICE,
            title="Queues are not replicated",
            sentence=f"{listed(classic)} {'is a classic queue' if len(classic) == 1 else 'are classic queues'}, which RabbitMQ"
            " keeps on one node: if that node fails, waiting tasks are lost or out of reach.",
            proof="rabbitmqctl list_queues name type",
            mend="Declare the queues anew with task_default_queue_type = 'quorum' (Celery 5.5), together with"
            " broker_transport_options = {'confirm_publish': True}.",
            subject=Subject.BROKER,
            queues=frozenset(classic),
        )


@rule(
    "results-expire", "Results are kept for longer than tasks take.",
    lambda facts: facts.result_expires is not None and (facts.longest_runtime, facts.longest_wait) != (None, None),
)  # fmt: skip
def results_expire(facts: Facts) -> Iterator[Finding]:
    """A result is deleted before the other tasks of its group or chord have ended."""
    expires = facts.result_expires or 0.0
    longest = (facts.longest_runtime or 0.0) + (facts.longest_wait or 0.0)
    if 0 < expires <= longest:
        yield Finding(
            rule="results-expire",
            severity=Severity.WARNING,
            title="Results expire before they are read",
            sentence=f"Results are deleted after {rough_duration(expires)}, but tasks of {facts.application} take up to"
            f" {rough_duration(longest)} from being sent to their end. A chord or group whose tasks are that far apart never"
            " completes, and get() waits for ever.",
            proof=f"result_expires is {expires:,.0f} s.",
            mend=f"Set result_expires to at least {int(2 * longest):,} s, or ignore results that nobody reads"
            " (ignore_result=True).",
        )
