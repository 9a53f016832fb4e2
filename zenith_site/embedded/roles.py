"""PostgreSQL's two roles: the application's, which is not a superuser, and the administrator's, which the application never uses.

A superuser can run programs on the server (`COPY … FROM PROGRAM`) and read its files, so anybody with Zenith's database address
would control the machine. Earlier versions created clusters with the application's role as the first superuser, whose rights
PostgreSQL does not revoke. So that role gets the administrator's name and password, and the application gets a new role with its
old name and password, which owns everything that it had created. Its clients keep working, with fewer rights. All of this is one
transaction.
"""

from __future__ import annotations

from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from zenith_site.embedded.state import DATABASE_ADMIN

#: The oid of the role that created the cluster.
_FIRST: Final = 10
#: A temporary role that renames the first one, since no session can rename its own role.
_INTERIM: Final = "zenith_interim"

#: What a role owns in this database, except for parts of another object that it owns, or of an extension.
_OWNED: Final[LiteralString] = """
WITH parts AS (SELECT classid, objid FROM pg_depend WHERE deptype IN ('a', 'i', 'e') AND refobjid >= 16384)
SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
       WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, c.oid::regclass::text
FROM pg_class c WHERE c.oid >= 16384 AND c.relowner = %(role)s AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  AND (c.relkind <> 'S' OR c.oid NOT IN (SELECT objid FROM parts WHERE classid = 'pg_class'::regclass))
  AND c.oid NOT IN (SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass AND deptype = 'e')
UNION ALL
SELECT 'ROUTINE', p.oid::regprocedure::text FROM pg_proc p
WHERE p.oid >= 16384 AND p.proowner = %(role)s AND p.oid NOT IN (SELECT objid FROM parts WHERE classid = 'pg_proc'::regclass)
UNION ALL
SELECT 'TYPE', t.oid::regtype::text FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE t.oid >= 16384 AND t.typowner = %(role)s AND t.typtype IN ('c', 'd', 'e', 'r') AND coalesce(c.relkind, 'c') = 'c'
  AND t.oid NOT IN (SELECT objid FROM parts WHERE classid = 'pg_type'::regclass)
UNION ALL
SELECT 'STATISTICS', format('%%I.%%I', n.nspname, s.stxname) FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
WHERE s.stxowner = %(role)s
UNION ALL
SELECT 'SCHEMA', quote_ident(nspname) FROM pg_namespace WHERE oid >= 16384 AND nspowner = %(role)s
UNION ALL
SELECT 'SCHEMA', quote_ident(nspname) FROM pg_namespace WHERE nspname = 'public' AND nspowner = %(role)s
"""


def demote(address: str, admin_password: str) -> bool:
    """Make the role of an address an ordinary one; return whether it was a superuser.

    Args:
        address: the application's address, with its password.
        admin_password: the password of the administrator's role, which the old role becomes.

    Raises psycopg.Error.
    """
    with psycopg.connect(address, autocommit=True) as connection:
        role = connection.execute("SELECT oid, rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        if role is None or not role[1]:
            return False
        user, password = connection.info.user, connection.info.password
        with connection.transaction():
            if role[0] == _FIRST:
                _split_first_role(connection, user, password, admin_password)
            else:
                # Another role is the administrator.
                connection.execute(sql.SQL("ALTER ROLE {} NOSUPERUSER").format(sql.Identifier(user)))
        # Existing connections still have the old rights; their clients reconnect.
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usesysid = %s AND pid <> pg_backend_pid()", [role[0]]
        )
    return True


def _split_first_role(connection: psycopg.Connection[Any], user: str, password: str, admin_password: str) -> None:
    """Rename the first role to the administrator's, and create the application's."""
    names = {
        "user": sql.Identifier(user), "admin": sql.Identifier(DATABASE_ADMIN), "interim": sql.Identifier(_INTERIM),
        "password": sql.Literal(password), "admin_password": sql.Literal(admin_password),
        "database": sql.Identifier(connection.info.dbname),
    }  # fmt: skip

    def run(statement: LiteralString) -> None:
        connection.execute(sql.SQL(statement).format(**names))

    run("CREATE ROLE {interim} SUPERUSER")
    run("SET LOCAL SESSION AUTHORIZATION {interim}")
    run("ALTER ROLE {user} RENAME TO {admin}")
    run("ALTER ROLE {admin} PASSWORD {admin_password}")
    run("CREATE ROLE {user} LOGIN PASSWORD {password}")
    run("ALTER DATABASE {database} OWNER TO {user}")
    for kind, name in connection.execute(_OWNED, {"role": _FIRST}).fetchall():
        # The server has quoted the name.
        connection.execute(sql.SQL("ALTER {} {} OWNER TO {}").format(sql.SQL(kind), sql.SQL(name), names["user"]))
    run("SET LOCAL SESSION AUTHORIZATION DEFAULT")
    run("DROP ROLE {interim}")
