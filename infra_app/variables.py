"""Which variables a node may be given beside Zenith's own: those that the operator allows, and none that decides what runs.

A variable is as good as code where the loader, the interpreter, a library or Zenith itself reads it: `LD_PRELOAD` loads a
library, `PYTHONWARNINGS` and `ZENITH_TASK_MODULES` import modules, `CELERY_BROKER_URL` has somebody else hand out the tasks. So
those are refused whatever is allowed, and of the rest only what ZENITH_NODE_ENVIRONMENT names goes through. A secret `NAME`
becomes the variable `NAME_FILE`, and is held to the same.

The rule is asked twice: when somebody asks for a variable, and when a container is made, for what was stored before the rule
was, or while the operator allowed more.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

from django.conf import settings

#: In any letter case, since programs read `http_proxy` as well; and with `_FILE` behind it.
REFUSED: Final = (
    # Zenith, and what it is built of.
    "ZENITH_*", "DATABASE_URL", "REDIS_URL", "POSTGRES_*", "EMAIL_*", "DEFAULT_FROM_EMAIL", "HOST", "PORT", "DJANGO_*",
    "CELERY_*", "C_*", "KOMBU_*", "PICKLE_*", "MP_*", "_MP_*", "MULTIPROCESSING_*", "FORKED_BY_MULTIPROCESSING", "REMAP_*",
    "FLOWER_*", "OTEL_*", "DOCKER_*", "PSYCOPG*", "PYDANTIC_*", "CLICK_*",
    # The interpreter, and what builds or installs for it.
    "PYTHON*", "_PYTHON*", "__PYVENV*", "PIP_*", "_PIP_*", "UV_*", "VIRTUAL_ENV", "CONDA_*", "SETUPTOOLS_*",
    # The loader and the C library.
    "LD_*", "DYLD_*", "GLIBC_*", "GCONV_*", "GETCONF_*", "MALLOC_*", "LOCPATH", "NLSPATH", "TZDIR", "HOSTALIASES", "RES_*",
    "RESOLV_*", "LOCALDOMAIN", "NIS_PATH",
    # The shell, other interpreters, and where programs and their settings are looked for.
    "PATH", "HOME", "PWD", "USER", "LOGNAME", "SHELL", "ENV", "BASH*", "IFS", "CDPATH", "SHELLOPTS", "PS4", "PROMPT_COMMAND",
    "TMP", "TEMP", "TMPDIR", "XDG_*", "EDITOR", "VISUAL", "PAGER", "LESS*", "BROWSER", "GIT_*", "SSH_*", "PERL*", "RUBY*",
    "NODE_*", "JAVA_*", "_JAVA_*", "JDK_*", "LUA_*", "NETRC",
    # PostgreSQL's own client; certificates, and who is asked in between.
    "PG*", "KRB5*", "SSL*", "OPENSSL_*", "GNUTLS_*", "REQUESTS_*", "CURL_*", "*_PROXY",
)  # fmt: skip


def why_refused(name: str) -> str:
    """Say why a node may not be given a variable of this name; nothing where it may."""
    for pattern in REFUSED:
        if fnmatchcase(name.upper(), pattern) or fnmatchcase(name.upper(), f"{pattern}_FILE"):
            return (
                f"{name} may not be set, whatever ZENITH_NODE_ENVIRONMENT allows: Zenith, the interpreter, the loader or a "
                f"library reads {pattern}"
            )
    allowed = settings.ZENITH_NODE_ENVIRONMENT
    if not any(fnmatchcase(name, pattern) for pattern in allowed):
        return f"{name} is not allowed; ZENITH_NODE_ENVIRONMENT allows: {', '.join(allowed)}"
    return ""


def accepted(variables: Mapping[str, str]) -> dict[str, str]:
    """Return those of the variables that a node is given."""
    return {name: value for name, value in variables.items() if not why_refused(name)}
