-- load --
-- The workers' load, step by step, each a range of the index: over a month that takes half the time of grouping all minutes.
SELECT start, found.* FROM unnest(%(starts)s::bigint[]) AS start CROSS JOIN LATERAL (
    SELECT sum(workers)::float8 / sum(looks), sum(slots)::float8 / sum(looks), sum(busy)::float8 / sum(looks)
    FROM tasks_app_loadsample
    WHERE minute >= to_timestamp(greatest(start, %(since)s)) AND minute < to_timestamp(least(start + %(step)s, %(until)s))
) AS found

-- last_hour --
-- Means of busy slots and waiting messages, counts of what was retried and what failed; steps count from 0, the oldest.
SELECT 'busy', ((date_part('epoch', minute)::bigint - %(since)s) / %(length)s)::int, sum(busy)::float8 / sum(looks)
FROM tasks_app_loadsample WHERE minute >= to_timestamp(%(since)s) GROUP BY 2
UNION ALL
SELECT 'waiting', ((date_part('epoch', minute)::bigint - %(since)s) / %(length)s)::int, avg(depth)::float8
FROM (SELECT minute, sum(depth) AS depth FROM tasks_app_queuesample
    WHERE minute >= to_timestamp(%(since)s) AND application_id = 1 GROUP BY 1) AS queues
GROUP BY 2
UNION ALL
SELECT unnest(ARRAY['retried', 'failed']), step, unnest(ARRAY[retried, failed])::float8
FROM (SELECT ((date_part('epoch', minute)::bigint - %(since)s) / %(length)s)::int AS step,
        sum(retried) AS retried, sum(failed) AS failed
    FROM tasks_app_minuterollup WHERE minute >= to_timestamp(%(since)s) GROUP BY 1) AS ended

-- hours_of_queues --
-- The most messages that waited in queues of an application, and what finished and failed of their tasks, step by step. Outcomes are
-- read from the rows of five minutes as far as they are summed up, and from minutes for the rest.
WITH done (until) AS (
    SELECT extract(epoch FROM max(start))::bigint + 300 FROM tasks_app_periodrollup WHERE seconds = 300 AND scope = 2)
SELECT queue, date_part('epoch', at)::bigint / %(step)s * %(step)s, max(depth), sum(finished)::bigint, sum(failed)::bigint
FROM (
    SELECT queue, minute AS at, depth, 0 AS finished, 0 AS failed FROM tasks_app_queuesample
    WHERE queue = ANY(%(names)s) AND application_id = %(application)s AND minute >= to_timestamp(%(since)s)
    UNION ALL
    SELECT queue, start, NULL, succeeded + failed, failed FROM tasks_app_periodrollup
    WHERE seconds = 300 AND scope = 1 AND name = '' AND queue = ANY(%(asked_for)s)
        AND application_id = %(application)s AND start >= to_timestamp(%(since)s)
    UNION ALL
    SELECT queue, minute, NULL, succeeded + failed, failed FROM tasks_app_minuterollup
    WHERE queue = ANY(%(asked_for)s) AND application_id = %(application)s
        AND minute >= to_timestamp(greatest(%(since)s, (SELECT until FROM done)))
) AS found
GROUP BY 1, 2

-- hour_of_workers --
-- What finished and failed on workers, and their largest memory, step by step: one range of the key, the newest minutes.
SELECT wanted.application, worker, date_part('epoch', minute)::bigint / %(step)s * %(step)s,
    sum(succeeded + failed)::bigint, sum(failed)::bigint, max(memory_bytes)
FROM unnest(%(applications)s::text[], %(names)s::text[]) AS wanted (application, name)
JOIN tasks_app_application AS known ON known.name = wanted.application
JOIN tasks_app_workerminute ON application_id = known.id AND worker = wanted.name
WHERE minute >= to_timestamp(%(since)s)
GROUP BY 1, 2, 3
