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

-- applications_to_hand_over --
-- Other applications that have tasks for their workers to send, also to paused queues: the first one found is enough. Steps along
-- the index task_to_hand_over.
SELECT id, name FROM tasks_app_application AS application WHERE id <> 1 AND (
    EXISTS (SELECT FROM tasks_app_task WHERE application_id = application.id AND application_id <> 1 AND status = 'PENDING'
        AND cancel_requested_at IS NULL AND (handed_at IS NULL OR handed_at < now() - make_interval(secs => %s)))
    OR EXISTS (SELECT FROM tasks_app_task WHERE application_id = application.id AND application_id <> 1 AND status = 'SCHEDULED'
        AND not_before <= now() AND cancel_requested_at IS NULL)
) ORDER BY id

-- unhanded_pending --
-- Locks tasks of one application that its workers were not asked to send, or that none has confirmed for {within} seconds.
SELECT {columns} FROM tasks_app_task
WHERE application_id = %s AND application_id <> 1 AND status = 'PENDING' AND cancel_requested_at IS NULL
    AND (handed_at IS NULL OR handed_at < now() - make_interval(secs => {within})) AND {not_paused}
ORDER BY not_before, id LIMIT %s FOR UPDATE SKIP LOCKED

-- unhanded_due --
-- Locks scheduled tasks of one application that are due, oldest first.
SELECT {columns} FROM tasks_app_task
WHERE application_id = %s AND application_id <> 1 AND status = 'SCHEDULED' AND not_before <= now()
    AND cancel_requested_at IS NULL AND {not_paused}
ORDER BY not_before, id LIMIT %s FOR UPDATE SKIP LOCKED

-- unhanded_of_batch --
-- Locks the tasks of a batch that no worker was asked to send, in the order of their creation.
SELECT {columns} FROM tasks_app_task
WHERE batch_id = %s AND application_id <> 1 AND status = 'PENDING' AND handed_at IS NULL AND cancel_requested_at IS NULL
    AND {not_paused}
ORDER BY text_id LIMIT %s FOR UPDATE SKIP LOCKED

-- mark_handed --
-- Notes that an application's workers were asked to send tasks.
UPDATE tasks_app_task SET status = 'PENDING', position = %s, handed_at = now() WHERE id = ANY(%s)
