"""`python -m zenith_site.launch.roles`: makes Zenith's role in Compose's PostgreSQL an ordinary one.

PostgreSQL's image makes POSTGRES_USER the first superuser, and Zenith connects as that role. This step runs before the rest of
Zenith and splits it in two (embedded/roles.py). It is idempotent.

It does not read Django's settings, because it does not have the secrets that they need.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import psycopg

from zenith_site.embedded.roles import demote
from zenith_site.env import Environment


def main(variables: Mapping[str, str]) -> int:
    """Split the role; return 0, or 1 with the reason on stderr.

    Arguments:
        variables: the environment, with DATABASE_URL and POSTGRES_ADMIN_PASSWORD, or their `_FILE` variants.
    """
    environment = Environment(variables)
    try:
        if demote(environment.secret("DATABASE_URL"), environment.secret("POSTGRES_ADMIN_PASSWORD")):
            sys.stdout.write("Zenith's role is no longer a superuser.\n")
    except psycopg.Error as error:
        sys.stderr.write(f"PostgreSQL's roles could not be separated: {' '.join(str(error).split())}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
