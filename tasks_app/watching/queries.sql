-- known_tasks --
-- What is recorded of tasks by key.
SELECT id::text, position, name, worker, extract(epoch FROM received_at)::float8, extract(epoch FROM started_at)::float8
FROM tasks_app_task WHERE id = ANY(%s::uuid[])

-- open_tasks --
-- An application's newest tasks that have not ended, newest first. Index: task_application_newest.
SELECT coalesce(nullif(text_id, ''), id::text), position, name, worker,
    extract(epoch FROM received_at)::float8, extract(epoch FROM started_at)::float8
FROM tasks_app_task WHERE application_id = %s AND status = ANY(%s) ORDER BY created_at DESC, id DESC LIMIT %s

-- try_lease --
-- Takes an application's lease, unless another session holds it.
SELECT pg_try_advisory_lock(%s, %s)

-- release_lease --
SELECT pg_advisory_unlock(%s, %s)

-- update_heard --
-- Writes when an application was heard, and when its observer listened; the newest of several observers counts.
UPDATE tasks_app_application SET
    first_heard_at = least(first_heard_at, to_timestamp(%(first)s::float8)),
    last_heard_at = greatest(last_heard_at, to_timestamp(%(last)s::float8)),
    listened_at = greatest(listened_at, to_timestamp(%(listened)s::float8)),
    celery_version = CASE WHEN %(version)s = '' THEN celery_version ELSE %(version)s END
WHERE id = %(id)s

-- take_connection_test --
-- Takes the oldest connection test that no engine has taken.
UPDATE tasks_app_connectiontest SET taken_at = now() WHERE id = (
    SELECT id FROM tasks_app_connectiontest WHERE taken_at IS NULL ORDER BY asked_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING id
