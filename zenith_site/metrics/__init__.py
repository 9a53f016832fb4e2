"""Prometheus metrics at `/metrics`: docs/metrics.md lists them, deploy/ has a dashboard and alerts.

1. `web` returns the text to authorized clients, and renders it at most once a second.
2. `collector` asks each source separately, so an unreachable one only lacks its own metrics.
3. The apps' sources (`sources`) are the same in every process; only `http` counts the responses of its own web process.
"""
