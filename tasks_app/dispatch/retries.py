"""Whether a dispatch may say how often a task is retried: another application's workers count that only with a guard."""

import redis

from tasks_app.models import Application
from zenith_worker.wire import guard_names, heartbeat
from zenith_worker.wire.guard_names import RETRIES


def why_not_retries(application: Application) -> str:
    """Return why a dispatch to this application cannot have `max_retries`; empty if it can."""
    if application.is_native:
        return ""
    try:
        guards = guard_names.of_workers(heartbeat.read_all(application.key_name))
    except redis.RedisError:
        return f"cannot be set now: Redis does not answer, so it is unknown whether the workers of {application.name} count it"
    if RETRIES in guards.shared:
        return ""
    if not guards.workers:
        return f"cannot be set: no worker of {application.name} is online, so it is unknown whether they have the guard `retries`"
    if RETRIES in guards.partial:
        return (
            f"cannot be set: only some workers of {application.name} have the guard `retries`, and any of them may run the task"
        )
    return (
        f"cannot be set: {application.name} decides itself how often its tasks are retried, since its workers do not have the"
        " guard `retries`"
    )
