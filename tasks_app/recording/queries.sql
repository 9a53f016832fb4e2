-- insert_tasks --
-- Inserts tasks that other programs sent, as their first steps show them; returns the ids of those that were not there yet. Each
-- parameter is named after the member of TaskState that it holds.
INSERT INTO tasks_app_task (id, text_id, application_id, name, queue, source, status, position, args, kwargs, priority, parent_id,
    root_id, group_id, worker, error_type, error_message, created_at, not_before, queued_at, received_at, started_at, finished_at,
    runtime, cpu, memory)
SELECT id, text_id, application_id, name, queue, source, status, position, coalesce(args, '[]'), coalesce(kwargs, '{}'), priority,
    parent_id, root_id, group_id, worker, error_type, error_message, to_timestamp(created_at), to_timestamp(not_before),
    to_timestamp(queued_at), to_timestamp(received_at), to_timestamp(started_at), to_timestamp(finished_at), runtime, cpu, memory
FROM unnest(%(id)s::uuid[], %(text_id)s::text[], %(application_id)s::smallint[], %(name)s::text[], %(queue)s::text[],
    %(source)s::text[], %(status)s::text[], %(position)s::bigint[], %(args)s::jsonb[], %(kwargs)s::jsonb[],
    %(priority)s::smallint[], %(parent_id)s::uuid[], %(root_id)s::uuid[], %(group_id)s::uuid[],
    %(worker)s::text[], %(error_type)s::text[], %(error_message)s::text[],
    %(created_at)s::float8[], %(not_before)s::float8[], %(queued_at)s::float8[], %(received_at)s::float8[],
    %(started_at)s::float8[], %(finished_at)s::float8[], %(runtime)s::float8[], %(cpu)s::float8[], %(memory)s::bigint[])
    AS row (id, text_id, application_id, name, queue, source, status, position, args, kwargs, priority, parent_id, root_id,
        group_id, worker, error_type, error_message, created_at, not_before, queued_at, received_at, started_at, finished_at,
        runtime, cpu, memory)
ORDER BY id
ON CONFLICT (id) DO NOTHING
RETURNING id::text

-- update_tasks --
-- Updates tasks to their new state. Each parameter is named after the member of TaskState that it holds.
UPDATE tasks_app_task SET
    status = row.status, position = row.position, worker = row.worker,
    error_type = row.error_type, error_message = row.error_message,
    not_before = to_timestamp(row.not_before), queued_at = to_timestamp(row.queued_at),
    received_at = to_timestamp(row.received_at),
    started_at = to_timestamp(row.started_at), finished_at = to_timestamp(row.finished_at),
    runtime = row.runtime, cpu = row.cpu, memory = row.memory
FROM unnest(%(id)s::uuid[], %(status)s::text[], %(position)s::bigint[], %(worker)s::text[], %(error_type)s::text[],
    %(error_message)s::text[], %(not_before)s::float8[], %(queued_at)s::float8[], %(received_at)s::float8[],
    %(started_at)s::float8[], %(finished_at)s::float8[], %(runtime)s::float8[], %(cpu)s::float8[], %(memory)s::bigint[])
    AS row (id, status, position, worker, error_type, error_message, not_before, queued_at, received_at,
        started_at, finished_at, runtime, cpu, memory)
WHERE tasks_app_task.id = row.id

-- hold_retries --
-- Marks held retries, if the row still shows that step: a late report must not hold a task that was sent since.
UPDATE tasks_app_task SET held = true FROM unnest(%s::uuid[], %s::bigint[]) AS row (id, position)
WHERE tasks_app_task.id = row.id AND tasks_app_task.position = row.position
    AND tasks_app_task.status = 'RETRY'

-- update_external_tasks --
-- Updates tasks that other programs sent: also their origin, which only their first reports contain.
UPDATE tasks_app_task SET
    status = row.status, position = row.position, worker = row.worker,
    error_type = row.error_type, error_message = row.error_message,
    not_before = to_timestamp(row.not_before), queued_at = to_timestamp(row.queued_at),
    received_at = to_timestamp(row.received_at),
    started_at = to_timestamp(row.started_at), finished_at = to_timestamp(row.finished_at),
    runtime = row.runtime, cpu = row.cpu, memory = row.memory,
    name = row.name, queue = row.queue,
    priority = coalesce(tasks_app_task.priority, row.priority),
    created_at = to_timestamp(row.created_at),
    parent_id = coalesce(tasks_app_task.parent_id, row.parent_id),
    root_id = coalesce(tasks_app_task.root_id, row.root_id),
    group_id = coalesce(tasks_app_task.group_id, row.group_id),
    args = coalesce(row.args, tasks_app_task.args),
    kwargs = coalesce(row.kwargs, tasks_app_task.kwargs)
FROM unnest(%(id)s::uuid[], %(status)s::text[], %(position)s::bigint[], %(worker)s::text[], %(error_type)s::text[],
    %(error_message)s::text[], %(not_before)s::float8[], %(queued_at)s::float8[], %(received_at)s::float8[],
    %(started_at)s::float8[], %(finished_at)s::float8[], %(runtime)s::float8[], %(cpu)s::float8[], %(memory)s::bigint[],
    %(name)s::text[], %(queue)s::text[],
    %(priority)s::smallint[], %(created_at)s::float8[], %(parent_id)s::uuid[], %(root_id)s::uuid[],
    %(group_id)s::uuid[], %(args)s::jsonb[], %(kwargs)s::jsonb[])
    AS row (id, status, position, worker, error_type, error_message, not_before, queued_at, received_at,
        started_at, finished_at, runtime, cpu, memory, name, queue, priority, created_at, parent_id, root_id, group_id, args, kwargs)
WHERE tasks_app_task.id = row.id

-- fill_queues --
-- Writes the queues of tasks that Zenith dispatched without knowing where their application's routes send them.
UPDATE tasks_app_task SET queue = row.queue FROM unnest(%s::uuid[], %s::text[]) AS row (id, queue)
WHERE tasks_app_task.id = row.id AND tasks_app_task.queue = ''

-- keep_messages --
-- Stores what messages carry; a replacement's message overwrites its predecessor's.
INSERT INTO tasks_app_taskmessage AS kept (task_id, nesting, extras)
SELECT * FROM unnest(%s::uuid[], %s::int[], %s::jsonb[])
ON CONFLICT (task_id) DO UPDATE SET nesting = excluded.nesting, extras = excluded.extras WHERE kept.nesting < excluded.nesting

-- insert_workflows --
-- Inserts workflows that are not known yet.
INSERT INTO tasks_app_workflow (id, application_id, created_at)
SELECT id, application_id, to_timestamp(at) FROM unnest(%s::uuid[], %s::smallint[], %s::float8[]) AS row (id, application_id, at)
ORDER BY id
ON CONFLICT (id) DO NOTHING

-- keep_progress --
-- Stores how far tasks are: of all reports, the newest of the newest run. A report without a run is another task's, and belongs
-- to the run that the task's row shows. What an application tells of another one's task is left out.
INSERT INTO tasks_app_taskprogress AS kept (task_id, run, at, current, total, state, meta, earlier_at, earlier_current, samples)
SELECT DISTINCT ON (row.task_id) row.task_id, coalesce(row.run, task.position >> 8), to_timestamp(row.at), row.current, row.total,
    row.state, row.meta, to_timestamp(row.earlier_at), row.earlier_current, row.samples
FROM unnest(%s::uuid[], %s::smallint[], %s::bigint[], %s::float8[], %s::float8[], %s::float8[], %s::text[], %s::jsonb[],
    %s::float8[], %s::float8[], %s::smallint[])
    AS row (task_id, application_id, run, at, current, total, state, meta, earlier_at, earlier_current, samples)
JOIN tasks_app_task AS task ON task.id = row.task_id AND task.application_id = row.application_id
ORDER BY row.task_id, coalesce(row.run, task.position >> 8) DESC, row.at DESC, row.current DESC NULLS LAST
ON CONFLICT (task_id) DO UPDATE SET
    run = excluded.run, at = excluded.at, current = excluded.current, total = excluded.total, state = excluded.state,
    meta = excluded.meta, earlier_at = excluded.earlier_at, earlier_current = excluded.earlier_current, samples = excluded.samples
WHERE (kept.run, kept.at, coalesce(kept.current, -1)) < (excluded.run, excluded.at, coalesce(excluded.current, -1))
RETURNING task_id::text, (SELECT application_id FROM tasks_app_task WHERE id = task_id)

-- insert_attempts --
-- Inserts failed runs; a run reported twice is one row.
INSERT INTO tasks_app_attempt (task_id, nesting, attempt, delivery, worker, received_at, started_at,
    finished_at, due_at, outcome, error_type, error_message, traceback, cpu, memory)
SELECT task_id, nesting, attempt, delivery, worker, to_timestamp(received_at), to_timestamp(started_at),
    to_timestamp(finished_at), to_timestamp(due_at), outcome, error_type, error_message, traceback, cpu, memory
FROM unnest(%s::uuid[], %s::int[], %s::int[], %s::int[], %s::text[], %s::float8[], %s::float8[],
    %s::float8[], %s::float8[], %s::text[], %s::text[], %s::text[], %s::text[], %s::float8[], %s::bigint[])
    WITH ORDINALITY AS row (task_id, nesting, attempt, delivery, worker, received_at, started_at,
        finished_at, due_at, outcome, error_type, error_message, traceback, cpu, memory, number)
ORDER BY number
ON CONFLICT (task_id, nesting, attempt, delivery) DO NOTHING

-- insert_dead_letters --
-- Inserts dead letters. A task ends once, and the transaction that sees it end locks its row. A conflict is with a letter that
-- was written for the same end by other means.
INSERT INTO tasks_app_deadletter (task_id, application_id, fingerprint, task_name, queue, error_type, message,
    frame, created_at, state, resolved_by, note)
SELECT task_id, application_id, fingerprint, task_name, queue, error_type, message, frame, now(), 'OPEN', '', ''
FROM unnest(%s::uuid[], %s::smallint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
    WITH ORDINALITY AS row (task_id, application_id, fingerprint, task_name, queue, error_type, message, frame, number)
ORDER BY number
ON CONFLICT (task_id) DO NOTHING

-- insert_events --
-- Inserts events in order; an event that is already recorded is left unchanged.
INSERT INTO tasks_app_taskevent (task_id, status, position, at, worker, message)
SELECT row.task_id, row.status, row.position, to_timestamp(row.at), row.worker, row.message
FROM unnest(%s::uuid[], %s::text[], %s::bigint[], %s::float8[], %s::text[], %s::text[])
    WITH ORDINALITY AS row (task_id, status, position, at, worker, message, number)
ORDER BY row.number
ON CONFLICT (task_id, position) DO NOTHING
RETURNING id, task_id::text, position

-- correct_events --
-- Corrects the time and worker of recorded events.
UPDATE tasks_app_taskevent AS step SET at = to_timestamp(row.at), worker = row.worker
FROM unnest(%s::uuid[], %s::bigint[], %s::float8[], %s::text[]) AS row (task_id, position, at, worker)
WHERE step.task_id = row.task_id AND step.position = row.position

-- upsert_results --
-- Stores results. DO UPDATE and not DO NOTHING, since a row exists already if the task's code called `update_state()`. The
-- task's row is locked, so nobody else writes the same outcome.
INSERT INTO django_celery_results_taskresult
    (task_id, task_name, status, worker, content_type, content_encoding, result, traceback,
     meta, periodic_task_name, task_args, task_kwargs, date_created, date_started, date_done)
SELECT row.task_id, task_name, row.status, row.worker, 'application/json', 'utf-8', result, traceback,
    meta, periodic_task_name, to_json(left(task.args::text, 1024))::text, to_json(left(task.kwargs::text, 1024))::text,
    to_timestamp(created), to_timestamp(started), to_timestamp(done)
FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
    %s::text[], %s::text[], %s::float8[], %s::float8[], %s::float8[])
    AS row (key, task_id, task_name, status, worker, result, traceback, meta, periodic_task_name, created, started, done)
JOIN tasks_app_task AS task ON task.id = row.key
ON CONFLICT (task_id) DO UPDATE SET
    task_name = excluded.task_name, status = excluded.status, worker = excluded.worker,
    result = excluded.result, traceback = excluded.traceback, meta = excluded.meta,
    periodic_task_name = excluded.periodic_task_name, task_args = excluded.task_args, task_kwargs = excluded.task_kwargs,
    date_started = excluded.date_started, date_done = excluded.date_done

-- add_to_minutes --
-- Adds a batch's counts to minutes of tasks of an application on queues; histograms, which come as texts, bucket by bucket.
INSERT INTO tasks_app_minuterollup AS kept
    (minute, name, queue, application_id, succeeded, failed, revoked, retried, runtime_seconds,
     runtime_histogram, waiting_seconds, waiting_histogram, cpu_seconds, cpu_histogram, memory_histogram)
SELECT to_timestamp(minute), name, queue, application_id, succeeded, failed, revoked, retried, runtime_seconds,
    runtimes::int[], waiting_seconds, waits::int[], cpu_seconds, cpus::int[], memories::int[]
FROM unnest(%s::float8[], %s::text[], %s::text[], %s::smallint[], %s::int[], %s::int[], %s::int[], %s::int[], %s::float8[],
    %s::text[], %s::float8[], %s::text[], %s::float8[], %s::text[], %s::text[])
    WITH ORDINALITY AS row (minute, name, queue, application_id, succeeded, failed, revoked, retried, runtime_seconds, runtimes,
        waiting_seconds, waits, cpu_seconds, cpus, memories, number)
ORDER BY number
ON CONFLICT (minute, name, queue, application_id) DO UPDATE SET
    succeeded = kept.succeeded + excluded.succeeded,
    failed = kept.failed + excluded.failed,
    revoked = kept.revoked + excluded.revoked,
    retried = kept.retried + excluded.retried,
    runtime_seconds = kept.runtime_seconds + excluded.runtime_seconds,
    runtime_histogram = (
        SELECT array_agg(coalesce(mine, 0) + coalesce(theirs, 0) ORDER BY number)
        FROM unnest(kept.runtime_histogram, excluded.runtime_histogram) WITH ORDINALITY AS pair (mine, theirs, number)),
    waiting_seconds = kept.waiting_seconds + excluded.waiting_seconds,
    waiting_histogram = (
        SELECT array_agg(coalesce(mine, 0) + coalesce(theirs, 0) ORDER BY number)
        FROM unnest(kept.waiting_histogram, excluded.waiting_histogram) WITH ORDINALITY AS pair (mine, theirs, number)),
    cpu_seconds = kept.cpu_seconds + excluded.cpu_seconds,
    cpu_histogram = coalesce((
        SELECT array_agg(coalesce(mine, 0) + coalesce(theirs, 0) ORDER BY number)
        FROM unnest(kept.cpu_histogram, excluded.cpu_histogram) WITH ORDINALITY AS pair (mine, theirs, number)), '{}'),
    memory_histogram = coalesce((
        SELECT array_agg(coalesce(mine, 0) + coalesce(theirs, 0) ORDER BY number)
        FROM unnest(kept.memory_histogram, excluded.memory_histogram) WITH ORDINALITY AS pair (mine, theirs, number)), '{}')

-- add_to_worker_minutes --
-- Adds to what ended on each worker, minute by minute.
INSERT INTO tasks_app_workerminute AS kept (minute, application_id, worker, succeeded, failed)
SELECT to_timestamp(minute), application_id, worker, succeeded, failed
FROM unnest(%s::float8[], %s::smallint[], %s::text[], %s::int[], %s::int[])
    WITH ORDINALITY AS row (minute, application_id, worker, succeeded, failed, number)
ORDER BY number
ON CONFLICT (minute, application_id, worker) DO UPDATE SET
    succeeded = kept.succeeded + excluded.succeeded, failed = kept.failed + excluded.failed

-- mark_late --
-- Marks a period as late. DO UPDATE and not DO NOTHING, so that whoever removes the mark waits for this transaction's counts.
INSERT INTO tasks_app_lateperiod (start, touched_at) VALUES (to_timestamp(%s), now())
ON CONFLICT (start) DO UPDATE SET touched_at = excluded.touched_at

-- lock_tasks --
-- Locks tasks in order of their ids, which avoids deadlocks. Each column is named after a member of TaskState.
SELECT id::text, text_id, application_id, name, queue, source, status, position, worker, error_type, error_message,
    date_part('epoch', created_at) AS created_at, date_part('epoch', not_before) AS not_before,
    date_part('epoch', queued_at) AS queued_at, date_part('epoch', received_at) AS received_at,
    date_part('epoch', started_at) AS started_at, date_part('epoch', finished_at) AS finished_at, runtime,
    cpu, memory
FROM tasks_app_task WHERE id = ANY(%s::uuid[]) ORDER BY id FOR UPDATE

-- insert_task_logs --
-- Inserts lines that tasks logged. An entry that is read a second time changes nothing. Each parameter is named after its column.
INSERT INTO tasks_app_tasklog (task_id, application_id, position, nesting, attempt, delivery, source, first, lines, chars, text,
    left_out, recorded_at)
SELECT *, 0, now() FROM unnest(%(task_id)s::uuid[], %(application_id)s::smallint[], %(position)s::bigint[], %(nesting)s::int[],
    %(attempt)s::int[], %(delivery)s::smallint[], %(source)s::int[], %(first)s::bigint[], %(lines)s::int[], %(chars)s::int[],
    %(text)s::text[])
ON CONFLICT DO NOTHING

-- find_long_task_logs --
-- Finds those of these tasks that have logged more lines or characters than are kept.
SELECT task_id, application_id FROM tasks_app_tasklog
JOIN unnest(%(keys)s::uuid[], %(applications)s::smallint[]) AS row (task_id, application_id) USING (task_id, application_id)
GROUP BY task_id, application_id HAVING sum(lines) > %(lines)s OR sum(chars) > %(chars)s
ORDER BY task_id, application_id

-- lock_task_logs --
-- Locks the rows of what a task logged, oldest first; the numbers of a run are one text.
SELECT task_id, id, concat_ws(' ', nesting, attempt, delivery, source), lines, chars, left_out FROM tasks_app_tasklog
WHERE task_id = %s AND application_id = %s ORDER BY position FOR UPDATE

-- note_left_out --
-- Notes how many lines of earlier runs were removed before these.
UPDATE tasks_app_tasklog SET left_out = %s WHERE id = %s
