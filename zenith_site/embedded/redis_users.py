"""The Redis user of workers and nodes: it may read and write every key, and administer nothing.

With Zenith's own password, code in a task could read and change the configuration, load modules, copy all data elsewhere, empty
the database with one command, or shut the server down.
"""

from typing import Final

WORKER: Final = "zenith_worker"
#: As `ACL SETUSER` takes them.
RIGHTS: Final = "~* &* +@all -@admin -@dangerous"


def in_config(password: str) -> str:
    """Return the line of redis.conf that makes the user; the password has neither spaces nor quotes."""
    return f"user {WORKER} on >{password} {RIGHTS}"
