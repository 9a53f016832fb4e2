"""How `manage.py up` runs everything on one machine.

0. The command becomes `python -m zenith_site.launch` (`run`), a small process, by exec.
1. It locks the data directory and tries the web port (`readiness`), so that a second `up` or a port in use fails immediately.
2. It starts the embedded servers that are not configured elsewhere (`zenith_site.embedded`).
3. `manage.py prepare` migrates, collects static files and creates the first admin, in a process of its own to free its memory.
4. The programs (`programs`) run under the supervisor (`supervisor`), which restarts those that end.
5. Once `/health` reports that everything is up, `manage.py first_batch` runs on an empty database, then the banner is printed
   (`banner`).
6. A signal stops the programs, then the servers, in under ten seconds. Whatever ends `up` itself ends its children too, through
   `zenith_site/exec_with_parent.py`.
"""
