-- pending_queues --
-- Queues with PENDING tasks of Zenith's own application that are not paused. Skips along the index, so a million tasks of a
-- paused queue cost one step.
WITH RECURSIVE pending (queue) AS (
    SELECT min(queue) FROM tasks_app_task WHERE status = 'PENDING' AND application_id = 1
    UNION ALL
    SELECT (SELECT min(queue) FROM tasks_app_task WHERE status = 'PENDING' AND application_id = 1 AND queue > pending.queue)
    FROM pending WHERE pending.queue IS NOT NULL
)
SELECT queue FROM pending
WHERE queue IS NOT NULL AND queue <> ALL(ARRAY(SELECT queue FROM tasks_app_queuepause))

-- mark_queued --
-- Marks tasks as QUEUED. Clears what the previous attempt left, as recording/reducer.py does for every new delivery.
UPDATE tasks_app_task SET status = 'QUEUED', position = %s, queued_at = to_timestamp(%s),
    held = false, worker = '', received_at = NULL, started_at = NULL, error_type = '', error_message = ''
WHERE id = ANY(%s)

-- backlog --
-- Counts tasks that are due but not on the broker, up to a limit for each queue and kind; {pending_queues} is the statement above.
SELECT count(*), coalesce(extract(epoch FROM now() - min(since)), 0)::float8 FROM (
    SELECT created_at AS since FROM ({pending_queues}) AS waiting CROSS JOIN LATERAL (
        SELECT created_at FROM tasks_app_task
        WHERE status = 'PENDING' AND application_id = 1 AND queue = waiting.queue ORDER BY id LIMIT %(most)s) AS left_behind
    UNION ALL
    (SELECT not_before FROM tasks_app_task
        WHERE status = 'SCHEDULED' AND application_id = 1 AND not_before <= now()
            AND queue <> ALL(ARRAY(SELECT queue FROM tasks_app_queuepause)) LIMIT %(most)s)
    UNION ALL
    (SELECT not_before FROM tasks_app_task
        WHERE status = 'RETRY' AND application_id = 1 AND held AND not_before <= now()
            AND queue <> ALL(ARRAY(SELECT queue FROM tasks_app_queuepause)) LIMIT %(most)s)
) AS due
