-- nav_counts --
-- The counts in the navigation, along the indexes of status and of open letters, up to the limit.
SELECT
    (SELECT count(*) FROM (SELECT FROM tasks_app_task WHERE status = 'STARTED' LIMIT %(most)s) AS counted),
    (SELECT count(*) FROM (SELECT FROM tasks_app_task WHERE status IN ('PENDING', 'QUEUED', 'RECEIVED') LIMIT %(most)s)
        AS counted),
    (SELECT count(*) FROM (SELECT FROM tasks_app_deadletter WHERE state = 'OPEN' LIMIT %(most)s) AS counted),
    (SELECT array_agg(name ORDER BY name) FROM tasks_app_application WHERE kind <> 'native')

-- count_by_status --
SELECT wanted.status, (SELECT count(*) FROM (
    SELECT FROM tasks_app_task WHERE status = wanted.status LIMIT %(most)s) AS counted)
FROM unnest(%(statuses)s::text[]) AS wanted (status)

-- overview_counts --
-- The Overview's counters, each along its own index; {count_by_status} is the statement above. Dead letters are few (pruned).
SELECT (SELECT json_object_agg(status, count) FROM ({count_by_status}) AS counted (status, count)),
    (SELECT queued_at FROM tasks_app_task WHERE status = 'QUEUED' ORDER BY created_at LIMIT 1),
    least(
        (SELECT not_before FROM tasks_app_task WHERE status = 'SCHEDULED' AND application_id = 1 ORDER BY not_before LIMIT 1),
        (SELECT min(due.not_before) FROM tasks_app_application AS application CROSS JOIN LATERAL (
            SELECT not_before FROM tasks_app_task
            WHERE application_id = application.id AND application_id <> 1 AND status = 'SCHEDULED'
            ORDER BY not_before LIMIT 1) AS due)),
    count(*), count(DISTINCT fingerprint), count(*) FILTER (WHERE created_at > now() - interval '1 hour')
FROM (SELECT fingerprint, created_at FROM tasks_app_deadletter WHERE state = 'OPEN' LIMIT %(most)s) AS letter

-- queue_history --
-- The length of an application's queue, step by step; depth and age are the highest that were sampled.
SELECT date_part('epoch', minute)::bigint / %(step)s * %(step)s, max(depth), max(unacknowledged), max(oldest_seconds)
FROM tasks_app_queuesample
WHERE queue = %(queue)s AND application_id = %(application)s AND minute >= to_timestamp(%(since)s) AND minute < to_timestamp(%(until)s)
GROUP BY 1

-- queue_rates --
-- How many attempts ended in queues of an application after one minute and until another, without a time; and how long the queues
-- were at both. The empty name is that of tasks whose queue is not known.
SELECT queue, NULL::bigint, sum(succeeded + failed + revoked + retried)::bigint FROM tasks_app_minuterollup
WHERE minute > to_timestamp(%(first)s) AND minute <= to_timestamp(%(last)s) AND queue = ANY(%(names)s || '{""}'::text[])
    AND application_id = %(application)s
GROUP BY 1
UNION ALL
SELECT queue, date_part('epoch', minute)::bigint, depth FROM tasks_app_queuesample
WHERE queue = ANY(%(names)s) AND minute IN (to_timestamp(%(first)s), to_timestamp(%(last)s)) AND application_id = %(application)s

-- held_in_queues --
-- How many PENDING tasks of Zenith's own application each queue has, up to a limit.
SELECT wanted.queue, (SELECT count(*) FROM (
    SELECT FROM tasks_app_task WHERE status = 'PENDING' AND application_id = 1 AND queue = wanted.queue LIMIT %s) AS counted)
FROM unnest(%s::text[]) AS wanted (queue)

-- open_by_queue --
-- How many tasks of another application are in each of some statuses, by queue, along its own index, up to a limit for each status,
-- the oldest first; and when the first of them was sent.
SELECT counted.queue, wanted.status, count(*), min(counted.queued_at)
FROM unnest(%(statuses)s::text[]) AS wanted (status),
    LATERAL (SELECT queue, queued_at FROM tasks_app_task
        WHERE application_id = %(application)s AND application_id <> 1 AND status = wanted.status
        ORDER BY created_at LIMIT %(most)s) AS counted
GROUP BY 1, 2

-- rule_failures --
-- Tasks that failed for good, minute by minute, for a rule that people made; along letter_created.
SELECT floor(date_part('epoch', created_at) / 60)::bigint * 60 AS minute, count(*), 0
FROM tasks_app_deadletter
WHERE created_at > %(since)s
    AND (%(task)s::text IS NULL OR task_name LIKE %(task)s) AND (%(queue)s::text IS NULL OR queue LIKE %(queue)s)
    AND (%(error_type)s::text IS NULL OR error_type LIKE %(error_type)s)
    AND (%(fingerprint)s::text IS NULL OR fingerprint = %(fingerprint)s)
    AND (%(application)s::smallint IS NULL OR application_id = %(application)s)
GROUP BY minute ORDER BY minute

-- rule_shares --
-- Tasks that failed, and those that ended otherwise than by cancelling, minute by minute; a range of rollup_key.
SELECT date_part('epoch', minute)::bigint, sum(failed), sum(succeeded + failed)
FROM tasks_app_minuterollup
WHERE minute > %(since)s
    AND (%(task)s::text IS NULL OR name LIKE %(task)s) AND (%(queue)s::text IS NULL OR queue LIKE %(queue)s)
    AND (%(application)s::smallint IS NULL OR application_id = %(application)s)
GROUP BY minute HAVING sum(succeeded + failed) > 0 ORDER BY minute

-- rule_depths --
-- Messages that waited in all of some queues together, in each minute that has a sample; a range of queue_sample_minute.
SELECT date_part('epoch', minute)::bigint, sum(depth), 0
FROM tasks_app_queuesample
WHERE minute > %(since)s
    AND (%(queue)s::text IS NULL OR queue LIKE %(queue)s)
    AND (%(application)s::smallint IS NULL OR application_id = %(application)s)
GROUP BY minute ORDER BY minute
