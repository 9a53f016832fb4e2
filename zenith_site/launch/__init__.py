"""How `manage.py up` runs everything on one machine.

0. The command becomes `python -m zenith_site.launch` (`run`), a small process, by exec.
1. The data directory is locked and the web port tried (`readiness`), so that a second `up` and a taken port are told at once.
2. The embedded servers start, where none is configured (`zenith_site.embedded`).
3. `manage.py prepare` migrates, collects static files and makes the first admin, in a process of its own
   whose memory goes with it.
4. The programs (`programs`) run under the supervisor (`supervisor`), which restarts the one that falls.
5. Once `/health` says that all is up, `manage.py first_batch` runs on an empty database, then the banner is shown (`banner`).
6. A signal ends the programs, then the servers, in under ten seconds. Whatever ends `up` itself ends its children through
   `zenith_site/exec_with_parent.py`.
"""
