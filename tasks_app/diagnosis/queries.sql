-- own_priorities --
-- The priorities among the newest tasks of Zenith's own application.
SELECT DISTINCT priority FROM (
    SELECT priority, application_id FROM tasks_app_task ORDER BY created_at DESC LIMIT %(most)s) AS newest
WHERE application_id = %(application)s AND priority IS NOT NULL
ORDER BY priority

-- priorities --
-- The same of another application, along its own index: the newest of each of some statuses.
SELECT DISTINCT priority
FROM unnest('{QUEUED,RECEIVED,STARTED,SUCCESS}'::text[]) AS wanted (status),
    LATERAL (SELECT priority FROM tasks_app_task
        WHERE application_id = %(application)s AND application_id <> 1 AND status = wanted.status
        ORDER BY created_at DESC LIMIT %(most)s) AS newest
WHERE priority IS NOT NULL
ORDER BY priority

-- runs --
-- How many seconds ago tasks of some names were sent, the newest of each name first.
SELECT wanted.name, date_part('epoch', now() - sent.created_at)
FROM unnest(%(names)s::text[]) AS wanted (name),
    LATERAL (SELECT created_at FROM tasks_app_task
        WHERE application_id = %(application)s AND name = wanted.name AND created_at > %(since)s
        ORDER BY created_at DESC LIMIT %(runs)s) AS sent
ORDER BY wanted.name, sent.created_at DESC
