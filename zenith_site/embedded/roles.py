"""PostgreSQL's two roles: the application's, which is no superuser, and the administrator's, which the application does not know.

A superuser runs programs on the server (`COPY … FROM PROGRAM`) and reads its files, so whoever got an address of Zenith's had the
machine. Clusters of versions before were made with the application's role as their first superuser, and from that one PostgreSQL
takes no rights. So it gets the administrator's name and password, and the application a new role under its own name, with its own
password and everything that it had made: whoever has its address goes on, with fewer rights. All of it is one transaction.
"""

from __future__ import annotations

from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from zenith_site.embedded.state import DATABASE_ADMIN

#: PostgreSQL's number of the role that made the cluster.
_FIRST: Final = 10
#: Renames the first role, which nobody can who is it.
_INTERIM: Final = "zenith_interim"

#: What a role owns in this database, but for what belongs to something else that it owns, or to an extension.
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
    """Take the superuser's rights from the role that an address names, if it has them; return whether it had.

    Args:
        address: of the application, with its password.
        admin_password: what the administrator's role gets, which is made of it.

    Raises psycopg.Error.
    """
    with psycopg.connect(address, autocommit=True) as connection:
        found = connection.execute("SELECT oid, rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        if found is None or not found[1]:
            return False
        user, password = connection.info.user, connection.info.password
        with connection.transaction():
            if found[0] == _FIRST:
                _part(connection, user, password, admin_password)
            else:
                # Somebody else is the administrator.
                connection.execute(sql.SQL("ALTER ROLE {} NOSUPERUSER").format(sql.Identifier(user)))
        # Whoever is connected already has the old rights; they connect anew.
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usesysid = %s AND pid <> pg_backend_pid()", [found[0]]
        )
    return True


def _part(connection: psycopg.Connection[Any], user: str, password: str, admin_password: str) -> None:
    """Make two roles of the first one."""
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
