"""Build and send a task's message, in Celery's protocol 2, from a template.

`app.send_task` looks up some thirty settings for every message. All messages of one task with the same options differ only
in their ids and arguments, so Celery builds the first one and the rest are filled in. Celery still sends them: routing,
declaration and the publish signals are its own.
"""

import json
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from celery.app.amqp import task_message
from django.conf import settings
from kombu.messaging import Producer

from tasks_app import catalog
from tasks_app.catalog import MessageOptions
from tasks_app.models.task import DISPATCHED
from zenith_site.common.application import celery_app
from zenith_worker.wire.headers import DISPATCHED_HEADER, MAX_RETRIES_HEADER, PERHAPS_SENT
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status
from zenith_worker.wire.time_limits import soft_limit

#: The most characters of the arguments' repr, which only logs and Flower show (Celery's default).
REPR_KEPT: Final = 1024
#: Celery's header with the first task of a chain of tasks that sent each other.
ROOT_HEADER: Final = "root_id"
#: Celery's header with the task that sent this one.
PARENT_HEADER: Final = "parent_id"

#: The columns that a query selects for a TaskRow, in its order.
ROW_COLUMNS: Final = """id, text_id, name, queue, args, kwargs, priority, max_retries, time_limit, soft_time_limit,
    expires_at, status, position, parent_id,
    (SELECT batch.headers FROM tasks_app_batch AS batch WHERE batch.id = batch_id), acks_early, source,
    (SELECT extras FROM tasks_app_taskmessage AS message WHERE message.task_id = tasks_app_task.id)"""


class TaskRow(NamedTuple):
    """The columns of a task's row that publishing needs. On a raw cursor Django leaves jsonb as text."""

    key: UUID
    text_id: str
    name: str
    queue: str
    args: str
    kwargs: str
    priority: int | None
    max_retries: int | None
    time_limit: int | None
    soft_time_limit: int | None
    expires_at: datetime | None
    status: str
    position: int
    parent_id: UUID | None
    headers: str | None
    acks_early: bool
    source: str
    extras: str | None

    @property
    def task_id(self) -> str:
        """The task's id in Celery."""
        return self.text_id or str(self.key)

    @property
    def run(self) -> RunNumber:
        """The run that a message sent now starts: after a failed run, the next one."""
        recorded = RunNumber.at(self.position)
        return recorded._replace(attempt=recorded.attempt + (self.status == Status.RETRY))


def send_message(producer: Producer, row: TaskRow, *, perhaps_sent: bool = False, again: bool = False) -> None:
    """Publish one task's message through `producer`. Raises kombu's OperationalError.

    `perhaps_sent` marks a message that may be a second copy, so that its worker checks more closely before it runs the task
    (zenith_worker/admission.py). `again` marks a message that certainly is one: a delivery of its own on the timeline.
    """
    extras = json.loads(row.extras) if row.extras else {}
    name = extras.get("task", row.name)
    # What another program put into the message is in the extras, as far as it is set.
    defined = catalog.message_options(name) if row.source in DISPATCHED else MessageOptions()
    template = _template(name, defined, row.max_retries, row.time_limit, row.soft_time_limit)
    id_ = row.task_id
    args = extras["args"] if "args" in extras else json.loads(row.args)
    kwargs = extras["kwargs"] if "kwargs" in extras else json.loads(row.kwargs)
    headers = {
        **template.headers, ROOT_HEADER: id_, **json.loads(row.headers or "{}"),
        "argsrepr": repr(args)[:REPR_KEPT], "kwargsrepr": repr(kwargs)[:REPR_KEPT],
        **extras.get("headers", {}), "id": id_, "retries": row.run.attempt,
    }  # fmt: skip
    if row.source not in DISPATCHED:
        # Its sender may wait for the result.
        del headers[DISPATCHED_HEADER]
    elif perhaps_sent:
        headers[DISPATCHED_HEADER] = PERHAPS_SENT
    if row.parent_id is not None:
        headers[PARENT_HEADER] = headers.get(PARENT_HEADER) or str(row.parent_id)
    if row.expires_at is not None:
        headers["expires"] = row.expires_at.isoformat()
    properties = {**template.properties, "correlation_id": id_}
    if row.priority is not None:
        properties["priority"] = row.priority
    if again:
        properties["delivery_info"] = {"redelivered": True}
    message = task_message(headers, properties, (args, kwargs, {**template.body[2], **extras.get("embed", {})}), None)
    queue = celery_app().amqp.queues[row.queue]
    celery_app().amqp.send_task_message(producer, name, message, queue=queue, retry=False)


@lru_cache(maxsize=1024)
def _template(
    name: str, defined: MessageOptions, max_retries: int | None, time_limit: int | None, soft_time_limit: int | None
) -> Any:
    """Return Celery's message for this task, as it is defined, and these options, without ids and arguments."""
    hard = time_limit or defined.time_limit
    soft = soft_time_limit or defined.soft_time_limit
    message = celery_app().amqp.create_task_message(
        "",
        name,
        ignore_result=defined.ignore_result,
        time_limit=hard,
        soft_time_limit=soft_limit(hard, soft, settings.CELERY_TASK_SOFT_TIME_LIMIT),
    )
    message.headers[DISPATCHED_HEADER] = 1
    if max_retries is not None:
        message.headers[MAX_RETRIES_HEADER] = max_retries
    return message
