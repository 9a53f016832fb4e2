"""The Redis user of workers and nodes: it may read and write every key, but administer nothing.

With Zenith's own password, a task's code could change the configuration, load modules, copy all data elsewhere, flush the
database with one command, or shut the server down.
"""

from typing import Final

WORKER: Final = "zenith_worker"
#: Its rights, as arguments of `ACL SETUSER`.
RIGHTS: Final = "~* &* +@all -@admin -@dangerous"


def in_config(password: str) -> str:
    """Return the line of redis.conf that creates the user; the password must have neither spaces nor quotes."""
    return f"user {WORKER} on >{password} {RIGHTS}"
