-- report_conditions --
-- Opens notifications, or updates open ones. If a condition came back before it was over, that is counted; otherwise only the
-- time changes. A condition whose earlier notification is still muted is muted as well.
INSERT INTO notify_notification AS kept
    (kind, key, severity, title, body, link, opened_at, last_seen_at, count, recovery, muted_until)
SELECT %(kind)s, row.key, row.severity, row.title, row.body, row.link, now(), now(), row.count, '', (
    SELECT max(earlier.muted_until) FROM notify_notification AS earlier
    WHERE earlier.kind = %(kind)s AND earlier.key = row.key AND earlier.muted_until > now())
FROM unnest(
    %(keys)s::text[], %(titles)s::text[], %(bodies)s::text[], %(links)s::text[], %(counts)s::int[], %(severities)s::text[]
) AS row (key, title, body, link, count, severity)
ORDER BY row.key
ON CONFLICT (kind, key) WHERE recovered_at IS NULL DO UPDATE SET last_seen_at = now(),
    count = greatest(excluded.count, kept.count + (kept.last_seen_at < now() - make_interval(secs => %(gap)s))::int)
RETURNING id, key, xmax = 0, coalesce(muted_until > now(), false)

-- recover --
-- Closes notifications whose conditions are over.
UPDATE notify_notification AS kept SET recovered_at = now(), recovery = row.recovery
FROM unnest(%(keys)s::text[], %(recoveries)s::text[]) AS row (key, recovery)
WHERE kept.kind = %(kind)s AND kept.key = row.key AND kept.recovered_at IS NULL
    AND kept.last_seen_at <= now() - make_interval(secs => %(keep_firing_for)s)
RETURNING kept.id

-- forget --
-- Closes notifications whose conditions have not been reported for long.
UPDATE notify_notification SET recovered_at = now(), recovery = %(recovery)s
WHERE kind = %(kind)s AND recovered_at IS NULL AND last_seen_at < now() - make_interval(secs => %(after)s)
RETURNING id

-- tell_opened --
-- Writes one delivery for each pair of a notification and a channel.
INSERT INTO notify_delivery (notification_id, channel, step, state, created_at, due_at, attempts, error)
SELECT id, channel, 'opened', 'waiting', now(), now(), 0, ''
FROM unnest(%s::bigint[], %s::text[]) AS pair (id, channel)
ON CONFLICT DO NOTHING

-- skip_opened --
-- Skips deliveries that were never attempted, of notifications that are over.
UPDATE notify_delivery SET state = 'skipped'
WHERE notification_id = ANY(%s) AND step = 'opened' AND state = 'waiting' AND message IS NULL

-- tell_recovered --
-- Runs after skip_opened, so what still waits has been attempted at least once and may have arrived. Nothing is said of what is
-- muted.
INSERT INTO notify_delivery (notification_id, channel, step, state, created_at, due_at, attempts, error)
SELECT notification_id, channel, 'recovered', 'waiting', now(), now(), 0, '' FROM notify_delivery
WHERE notification_id = ANY(%s) AND step = 'opened' AND state IN ('waiting', 'sent')
    AND NOT EXISTS (SELECT FROM notify_notification AS muted WHERE muted.id = notification_id AND muted.muted_until > now())
ON CONFLICT DO NOTHING
