"""`manage.py doctor`: finds what is wrong with an installation, and names the command or the setting that fixes it.

1. A check is a function that yields findings, registered under its name (`registry`).
2. `servers` checks PostgreSQL, Redis and all clocks, `machine` this machine and its settings; each app's checks are in its
   `doctor.py`.
3. A check that needs an unreachable server is skipped, so that one finding says so and not ten.
"""
