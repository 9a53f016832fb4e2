-- top_of_task --
-- Returns the id of the workflow that a task belongs to: the root of its root, and so on; {depth} of them at most. In a circle,
-- which only odd messages make, every task is its own.
WITH RECURSIVE up (id, root_id, path) AS (
    SELECT id, root_id, ARRAY[id] FROM tasks_app_task WHERE id = %(id)s
    UNION ALL
    SELECT task.id, task.root_id, path || task.id FROM up JOIN tasks_app_task AS task ON task.id = up.root_id
    WHERE cardinality(path) < {depth} AND task.id <> ALL(path)
)
SELECT coalesce(root_id, id) FROM up ORDER BY cardinality(path) DESC LIMIT 1

-- members --
-- Returns the tasks of a workflow, oldest first. A task of a group may have a workflow of its own, which is a part of this one. Of
-- each root, the oldest tasks are read along an index, so that a root of a million tasks costs no more than the limit.
WITH RECURSIVE tree (id, depth) AS (
    SELECT %(id)s::uuid, 0
    UNION
    SELECT sub.id, depth + 1 FROM tree CROSS JOIN LATERAL (
        SELECT id FROM tasks_app_task WHERE root_id = tree.id AND application_id = %(application)s
        ORDER BY created_at, id LIMIT %(most)s
    ) AS task JOIN tasks_app_workflow AS sub ON sub.id = task.id
    WHERE depth < {depth}
), roots AS MATERIALIZED (SELECT DISTINCT id FROM (SELECT id FROM tree LIMIT %(most)s) AS first), read AS (
    SELECT task.id, task.created_at FROM roots CROSS JOIN LATERAL (
        SELECT id, created_at FROM tasks_app_task
        WHERE root_id = roots.id AND application_id = %(application)s AND id <> %(id)s ORDER BY created_at, id LIMIT %(most)s
    ) AS task
    UNION ALL
    SELECT id, created_at FROM tasks_app_task WHERE id = %(id)s AND application_id = %(application)s
)
SELECT id, text_id, name, queue, status, position, worker, parent_id, root_id, group_id, replay_of_id, created_at, started_at,
    finished_at, error_type, left(error_message, {error}) AS error_message
FROM tasks_app_task WHERE id = ANY(ARRAY(SELECT id FROM read ORDER BY created_at, id LIMIT %(most)s))
ORDER BY created_at, id

-- messages --
-- Returns what the messages of tasks say of others. What follows a task is read only until it has succeeded, since then it was
-- sent; the body of a chord only once for each group. What is longer than {longest} bytes, or no longer fits into {total}, is left
-- out.
WITH told AS (
    SELECT task.id, task.group_id, task.status, message.extras,
        (message.extras #> '{{embed,chord}}') IS NOT NULL AS has_chord
    FROM tasks_app_taskmessage AS message JOIN tasks_app_task AS task ON task.id = message.task_id
    WHERE message.task_id = ANY(%(ids)s)
), picked AS (
    SELECT id, extras #>> '{{embed,chain,-1,options,task_id}}' AS next_id, extras #>> '{{embed,chain,-1,task}}' AS next_name,
        extras #>> '{{embed,chain,-1,subtask_type}}' AS next_kind, has_chord, coalesce((extras -> 'opaque') = 'true', false) AS opaque,
        CASE WHEN pg_column_size(extras) > {longest} THEN NULL
            WHEN status <> 'SUCCESS' THEN (extras -> 'embed') - 'chord' END AS embed,
        CASE WHEN has_chord AND pg_column_size(extras) <= {longest}
            AND row_number() OVER (PARTITION BY coalesce(group_id, id), has_chord ORDER BY id) = 1
            THEN extras #> '{{embed,chord}}' END AS chord,
        pg_column_size(extras) > {longest} AS too_long
    FROM told
), sized AS (
    SELECT *, sum(coalesce(octet_length(embed::text), 0) + coalesce(octet_length(chord::text), 0)) OVER (ORDER BY id) AS size
    FROM picked
)
SELECT id, next_id, next_name, next_kind, has_chord, opaque, too_long OR size > {total} AS cut,
    CASE WHEN size <= {total} THEN embed END AS embed, CASE WHEN size <= {total} THEN chord END AS chord
FROM sized

-- counts --
-- Returns how many tasks of some workflows are in each status, how many failures were replayed, and the name of the oldest.
-- No more than {most} tasks of a root, and of a workflow, are read.
WITH RECURSIVE tree (top, application_id, id, depth) AS (
    SELECT id, application_id, id, 0 FROM tasks_app_workflow WHERE id = ANY(%(ids)s)
    UNION
    SELECT tree.top, tree.application_id, sub.id, depth + 1 FROM tree CROSS JOIN LATERAL (
        SELECT id FROM tasks_app_task WHERE root_id = tree.id AND application_id = tree.application_id
        ORDER BY created_at, id LIMIT {most}
    ) AS task JOIN tasks_app_workflow AS sub ON sub.id = task.id
    WHERE depth < {depth}
), roots AS MATERIALIZED (SELECT DISTINCT top, application_id, id FROM (SELECT * FROM tree LIMIT {roots}) AS first)
SELECT top.id, counted.status, counted.parts, counted.replayed, counted.oldest, counted.name
FROM tasks_app_workflow AS top CROSS JOIN LATERAL (
    SELECT status, count(*) AS parts, count(*) FILTER (WHERE replayed) AS replayed, min(created_at) AS oldest,
        (array_agg(name ORDER BY created_at, id))[1] AS name
    FROM (
        SELECT task.id, task.created_at, task.status, task.name, task.status = 'FAILURE' AND EXISTS (
            SELECT FROM tasks_app_task AS again WHERE again.replay_of_id = task.id) AS replayed
        FROM (
            SELECT id, created_at, status, name FROM tasks_app_task WHERE id = top.id AND application_id = top.application_id
            UNION ALL
            SELECT task.id, task.created_at, task.status, task.name FROM roots CROSS JOIN LATERAL (
                SELECT id, created_at, status, name FROM tasks_app_task
                WHERE root_id = roots.id AND application_id = roots.application_id AND id <> roots.top
                ORDER BY created_at, id LIMIT {most}
            ) AS task
            WHERE roots.top = top.id
        ) AS task LIMIT {most}
    ) AS part GROUP BY status
) AS counted
WHERE top.id = ANY(%(ids)s)
