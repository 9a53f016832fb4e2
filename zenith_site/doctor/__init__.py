"""`manage.py doctor`: what is wrong with an installation, each finding with the command or the setting that mends it.

1. A check is a function that yields findings, registered under its name (`registry`).
2. `servers` looks at PostgreSQL, Redis and all clocks, `place` at this machine and its settings; apps have theirs in `doctor.py`.
3. A check that needs a server which does not answer is skipped: one finding says that, and not ten.
"""
