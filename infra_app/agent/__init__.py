"""The agent of a Docker host: makes what is observed be what is desired. `manage.py run_agent` runs it.

1. It takes the host's lease (`lease`): one agent speaks for a host at a time.
2. It looks at nodes (`loop`): on an order, on an event of the engine (`listen`), on a heartbeat that came or went (`beats`), and
   at all of them twice a minute.
3. For each it asks what is next (`plan`, pure), does it (`steps`), writes what it saw (`record`), and asks again. What a
   container is made from stands in `recipe`, how things are marked in `names`.
4. Beside that it keeps what nodes use (`figures`), what the host holds (`survey`), and the logs that somebody reads (`logs`).

It may be killed between any two steps: the next one finds by name and label what there is, and goes on from there.
"""
