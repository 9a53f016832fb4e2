"""`python -m zenith_site.launch.roles`: takes a superuser's rights from the role that Compose's PostgreSQL begins with.

The image of PostgreSQL makes POSTGRES_USER its first superuser, which is the role that Zenith connects as. Before anything of
Zenith's starts, that becomes two (embedded/roles.py); where it is done already, nothing happens.

Nothing here reads Django's settings: this step is not given what they need.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import psycopg

from zenith_site.embedded.roles import demote
from zenith_site.env import Environment


def main(given: Mapping[str, str]) -> int:
    """Do it; 0 where the application's role is no superuser then, else 1 with the reason on stderr.

    Arguments:
        given: the environment, with DATABASE_URL and POSTGRES_ADMIN_PASSWORD, or the files of them.
    """
    environment = Environment(given)
    try:
        if demote(environment.secret("DATABASE_URL"), environment.secret("POSTGRES_ADMIN_PASSWORD")):
            sys.stdout.write("Zenith's role is no longer a superuser.\n")
    except psycopg.Error as error:
        sys.stderr.write(f"PostgreSQL's roles could not be separated: {' '.join(str(error).split())}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
