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

-- depths_of_queues --
-- The most messages that waited in queues of an application, step by step, each queue a range of the samples' key.
SELECT wanted.queue, found.* FROM unnest(%(names)s::text[]) AS wanted (queue) CROSS JOIN LATERAL (
    SELECT date_part('epoch', minute)::bigint / %(step)s * %(step)s, max(depth) FROM tasks_app_queuesample
    WHERE queue = wanted.queue AND application_id = %(application)s AND minute >= to_timestamp(%(since)s)
    GROUP BY 1) AS found

-- minutes_of_workers --
-- What finished and failed on workers, and their largest memory, step by step: one range of the key, the newest minutes.
SELECT wanted.application, worker, date_part('epoch', minute)::bigint / %(step)s * %(step)s,
    sum(succeeded + failed)::bigint, sum(failed)::bigint, max(memory_bytes)
FROM unnest(%(applications)s::text[], %(names)s::text[]) AS wanted (application, name)
JOIN tasks_app_application AS known ON known.name = wanted.application
JOIN tasks_app_workerminute ON application_id = known.id AND worker = wanted.name
WHERE minute >= to_timestamp(%(since)s)
GROUP BY 1, 2, 3
