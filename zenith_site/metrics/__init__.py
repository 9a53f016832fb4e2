"""What Prometheus reads at `/metrics`: docs/metrics.md lists it, deploy/ has a dashboard and alerts for it.

1. `web` answers: whoever may ask gets the text, which is made at most once a second.
2. `collector` asks each source by itself, so one that is away takes only its own figures with it.
3. The apps' sources (`sources`) say the same whichever process is asked; only `http` counts what its own web process answered.
"""
