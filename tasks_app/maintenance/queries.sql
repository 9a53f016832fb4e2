-- sample_load --
-- Keeps one look at the load, if nobody else looks now and none was kept just before.
INSERT INTO tasks_app_loadsample AS kept (minute, sampled_at, looks, workers, slots, busy)
SELECT date_trunc('minute', now()), now(), 1, %s, %s, %s
WHERE pg_try_advisory_xact_lock(%s) AND NOT EXISTS (
    SELECT 1 FROM tasks_app_loadsample
    WHERE minute >= now() - interval '2 minutes' AND sampled_at > now() - %s * interval '1 second')
ON CONFLICT (minute) DO UPDATE SET sampled_at = excluded.sampled_at, looks = kept.looks + 1,
    workers = kept.workers + excluded.workers, slots = kept.slots + excluded.slots, busy = kept.busy + excluded.busy

-- sample_queues --
-- Keeps the newest look at the queues in each minute.
INSERT INTO tasks_app_queuesample (minute, queue, depth, unacknowledged, oldest_seconds)
SELECT date_trunc('minute', now()), row.queue, row.depth, row.unacknowledged, row.oldest_seconds
FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::float8[]) AS row (queue, depth, unacknowledged, oldest_seconds)
ON CONFLICT (queue, minute) DO UPDATE SET depth = excluded.depth, unacknowledged = excluded.unacknowledged,
    oldest_seconds = excluded.oldest_seconds
