-- update_applications --
-- Updates the applications that announced themselves, where something has changed; Zenith's own is never among them.
UPDATE tasks_app_application AS kept SET main = row.main, celery_version = row.celery, python_version = row.python,
    first_heard_at = coalesce(kept.first_heard_at, now()),
    last_heard_at = greatest(kept.last_heard_at, to_timestamp(row.heard_at))
FROM unnest(%(name)s::text[], %(main)s::text[], %(celery)s::text[], %(python)s::text[], %(heard_at)s::float8[])
    AS row (name, main, celery, python, heard_at)
WHERE kept.name = row.name AND kept.kind = 'attached' AND (
    (kept.main, kept.celery_version, kept.python_version) IS DISTINCT FROM (row.main, row.celery, row.python)
    OR to_timestamp(row.heard_at) > coalesce(kept.last_heard_at + %(heard_every)s * interval '1 second', '-infinity'))

-- insert_applications --
-- Inserts unknown applications, up to a number. Known ones are left out before, since a conflict, too, would use up an id.
INSERT INTO tasks_app_application (name, kind, main, celery_version, python_version, first_heard_at, last_heard_at)
SELECT name, 'attached', main, celery, python, now(), to_timestamp(heard_at)
FROM unnest(%(name)s::text[], %(main)s::text[], %(celery)s::text[], %(python)s::text[], %(heard_at)s::float8[])
    AS row (name, main, celery, python, heard_at)
WHERE NOT EXISTS (SELECT FROM tasks_app_application AS kept WHERE kept.name = row.name)
ORDER BY name
LIMIT greatest(0, %(most)s - (SELECT count(*) FROM tasks_app_application WHERE kind = 'attached'))
ON CONFLICT (name) DO NOTHING

-- insert_catalogue --
-- Stores a catalogue, unless another engine has just done so.
INSERT INTO tasks_app_catalogue (application_id, digest, tasks, left_out, first_seen_at, last_seen_at)
VALUES (%(application)s, %(digest)s, %(tasks)s::jsonb, %(left_out)s, now(), now())
ON CONFLICT (application_id, digest) DO NOTHING

-- renew_catalogues --
-- Writes when these catalogues were last seen, unless that is known nearly. Rows that another engine writes are skipped.
UPDATE tasks_app_catalogue AS kept SET last_seen_at = now()
FROM (
    SELECT id FROM tasks_app_catalogue
    JOIN unnest(%(applications)s::smallint[], %(digests)s::text[]) AS row (seen_application, seen_digest)
        ON application_id = seen_application AND digest = seen_digest
    WHERE last_seen_at < now() - %(seen_every)s * interval '1 second'
    FOR UPDATE OF tasks_app_catalogue SKIP LOCKED
) AS seen
WHERE kept.id = seen.id

-- remove_catalogues --
-- Removes catalogues that no worker has had for long, and those beyond a number; the newest of each application always stays.
DELETE FROM tasks_app_catalogue WHERE id IN (
    SELECT id FROM (
        SELECT id, last_seen_at, row_number() OVER (PARTITION BY application_id ORDER BY last_seen_at DESC, id DESC) AS place
        FROM tasks_app_catalogue) AS placed
    WHERE place > 1 AND (place > %(most)s OR last_seen_at < now() - %(kept)s * interval '1 second'))

-- sample_load --
-- Stores a sample of the load, unless another engine is sampling or has just done so.
INSERT INTO tasks_app_loadsample AS kept (minute, sampled_at, looks, workers, slots, busy)
SELECT date_trunc('minute', now()), now(), 1, %s, %s, %s
WHERE pg_try_advisory_xact_lock(%s) AND NOT EXISTS (
    SELECT 1 FROM tasks_app_loadsample
    WHERE minute >= now() - interval '2 minutes' AND sampled_at > now() - %s * interval '1 second')
ON CONFLICT (minute) DO UPDATE SET sampled_at = excluded.sampled_at, looks = kept.looks + 1,
    workers = kept.workers + excluded.workers, slots = kept.slots + excluded.slots, busy = kept.busy + excluded.busy

-- sample_queues --
-- Stores a sample of an application's queues; each minute keeps the newest.
INSERT INTO tasks_app_queuesample (minute, application_id, queue, depth, unacknowledged, oldest_seconds)
SELECT date_trunc('minute', now()), %s, row.queue, row.depth, row.unacknowledged, row.oldest_seconds
FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::float8[]) AS row (queue, depth, unacknowledged, oldest_seconds)
ON CONFLICT (queue, minute, application_id) DO UPDATE SET depth = excluded.depth, unacknowledged = excluded.unacknowledged,
    oldest_seconds = excluded.oldest_seconds

-- sample_workers --
-- Stores that these workers of an application are online, and the largest memory of each in this minute.
INSERT INTO tasks_app_workerminute AS kept (minute, application_id, worker, memory_bytes)
SELECT date_trunc('minute', now()), %s, row.worker, row.memory_bytes
FROM unnest(%s::text[], %s::bigint[]) WITH ORDINALITY AS row (worker, memory_bytes, number)
ORDER BY number
ON CONFLICT (minute, application_id, worker) DO UPDATE SET memory_bytes = greatest(kept.memory_bytes, excluded.memory_bytes)
WHERE kept.memory_bytes IS DISTINCT FROM greatest(kept.memory_bytes, excluded.memory_bytes)

-- sum_minutes --
-- Sums up periods of {seconds} seconds from their minutes, for each application. GROUPING SETS also give rows for a queue (scope 1)
-- and for all its tasks (2) beside those for a task (0). If no task ended, there is a row of scope 2 of Zenith's own application.
INSERT INTO tasks_app_periodrollup (seconds, scope, start, application_id, name, queue, {columns})
SELECT {seconds}, grouping(name) + grouping(queue), period, coalesce(application_id, {native}), coalesce(name, ''),
    coalesce(queue, ''), {sums}
FROM unnest(%s::timestamptz[]) AS period
LEFT JOIN tasks_app_minuterollup ON minute >= period AND minute < period + interval '{seconds} seconds'
GROUP BY GROUPING SETS ((period, application_id, name, queue), (period, application_id, queue), (period, application_id))
HAVING (count(queue) > 0 OR grouping(name) + grouping(queue) = 2) AND grouping(name) + grouping(queue) >= {finest}
ON CONFLICT (seconds, scope, name, queue, start, application_id) DO UPDATE SET {excluded}

-- sum_quarters --
-- Sums up periods of {seconds} seconds from those of {quarter} seconds.
INSERT INTO tasks_app_periodrollup (seconds, scope, start, application_id, name, queue, {columns})
SELECT {seconds}, scope, period, application_id, name, queue, {sums}
FROM unnest(%s::timestamptz[]) AS period
JOIN tasks_app_periodrollup ON seconds = {quarter} AND start >= period AND start < period + interval '{seconds} seconds'
GROUP BY scope, period, application_id, name, queue
ON CONFLICT (seconds, scope, name, queue, start, application_id) DO UPDATE SET {excluded}

-- remove_old_task_logs --
-- Removes up to a number of rows that are too old. Only the oldest are looked at, so this needs no index on their age.
DELETE FROM tasks_app_tasklog WHERE id = ANY(ARRAY(
    SELECT id FROM (SELECT id, recorded_at FROM tasks_app_tasklog ORDER BY id LIMIT %s) AS oldest WHERE recorded_at < %s))

-- remove_oldest_task_logs --
-- Removes the oldest rows, up to a number, until so many characters are gone; returns the lengths of those that it removed.
DELETE FROM tasks_app_tasklog WHERE id = ANY(ARRAY(
    SELECT id FROM (
        SELECT id, chars, sum(chars) OVER (ORDER BY id) AS so_far
        FROM (SELECT id, chars FROM tasks_app_tasklog ORDER BY id LIMIT %s) AS oldest) AS added
    WHERE so_far - chars < %s))
RETURNING chars

-- count_removable_task_logs --
-- Counts the rows that are too old, and the oldest beyond a number of characters.
SELECT count(*) FROM (
    SELECT recorded_at, sum(chars) OVER (ORDER BY id DESC) - chars AS newer FROM tasks_app_tasklog) AS placed
WHERE recorded_at < %s OR newer >= %s
