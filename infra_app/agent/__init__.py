"""The agent of a Docker host: brings the observed state of its nodes to the desired state. `manage.py run_agent` runs it.

1. It takes the host's lease (`lease`): only one agent acts on a host at a time (`leadership`).
2. It reconciles nodes (`loop`) after an order, an engine event (`event_listener`) or a heartbeat that started or stopped
   (`heartbeats`), and all of them twice a minute.
3. For each node, `node_reconciler` asks `plan` (pure) for the next step, takes it, records what it observed (`record`), and
   repeats. `container_spec` says how containers are built, `names` how they are named and labelled.
4. It also reports resource usage (`stats`), the host's inventory (`inventory_reporter`) and logs that someone is reading
   (`log_follower`), and keeps a swarm's services (`swarm_services`).

The agent may be killed between any two steps: the next one finds what exists by name and label, and continues.
"""
