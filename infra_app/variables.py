"""Which variables a node may get besides Zenith's own: those that the operator allows, and none that decides what code runs.

A variable is as good as code if the loader, the interpreter, a library or Zenith itself reads it: `LD_PRELOAD` loads a library,
`PYTHONWARNINGS` and `ZENITH_TASK_MODULES` import modules, `CELERY_BROKER_URL` lets someone else send the tasks. Those are always
refused; of the rest, only the names that ZENITH_NODE_ENVIRONMENT allows are accepted. A secret `NAME` becomes the variable
`NAME_FILE`, and the same rules apply.

The rules are checked twice: when someone requests a variable, and when a container is created, because the variable may have
been stored before the rule existed or while the operator allowed more.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

from django.conf import settings

#: Compared without regard to case, since programs also read `http_proxy`, and with and without the suffix `_FILE`.
REFUSED: Final = (
    # Zenith, and what it is built on.
    "ZENITH_*", "DATABASE_URL", "REDIS_URL", "POSTGRES_*", "EMAIL_*", "DEFAULT_FROM_EMAIL", "HOST", "PORT", "DJANGO_*",
    "CELERY_*", "C_*", "KOMBU_*", "PICKLE_*", "MP_*", "_MP_*", "MULTIPROCESSING_*", "FORKED_BY_MULTIPROCESSING", "REMAP_*",
    "FLOWER_*", "OTEL_*", "DOCKER_*", "PSYCOPG*", "PYDANTIC_*", "CLICK_*",
    # The interpreter, and its build and install tools.
    "PYTHON*", "_PYTHON*", "__PYVENV*", "PIP_*", "_PIP_*", "UV_*", "VIRTUAL_ENV", "CONDA_*", "SETUPTOOLS_*",
    # The loader and the C library.
    "LD_*", "DYLD_*", "GLIBC_*", "GCONV_*", "GETCONF_*", "MALLOC_*", "LOCPATH", "NLSPATH", "TZDIR", "HOSTALIASES", "RES_*",
    "RESOLV_*", "LOCALDOMAIN", "NIS_PATH",
    # The shell, other interpreters, and search paths of programs and their settings.
    "PATH", "HOME", "PWD", "USER", "LOGNAME", "SHELL", "ENV", "BASH*", "IFS", "CDPATH", "SHELLOPTS", "PS4", "PROMPT_COMMAND",
    "TMP", "TEMP", "TMPDIR", "XDG_*", "EDITOR", "VISUAL", "PAGER", "LESS*", "BROWSER", "GIT_*", "SSH_*", "PERL*", "RUBY*",
    "NODE_*", "JAVA_*", "_JAVA_*", "JDK_*", "LUA_*", "NETRC",
    # PostgreSQL's client library, certificates, proxies.
    "PG*", "KRB5*", "SSL*", "OPENSSL_*", "GNUTLS_*", "REQUESTS_*", "CURL_*", "*_PROXY",
)  # fmt: skip


def why_refused(name: str) -> str:
    """Return why a node may not get a variable of this name; empty if it may."""
    for pattern in REFUSED:
        if fnmatchcase(name.upper(), pattern) or fnmatchcase(name.upper(), f"{pattern}_FILE"):
            return (
                f"{name} may not be set, whatever ZENITH_NODE_ENVIRONMENT allows: {pattern} is read by Zenith, the interpreter, "
                "the loader or a library"
            )
    allowed = settings.ZENITH_NODE_ENVIRONMENT
    if not any(fnmatchcase(name, pattern) for pattern in allowed):
        return f"{name} is not allowed; ZENITH_NODE_ENVIRONMENT allows: {', '.join(allowed)}"
    return ""


def accepted(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a node may get."""
    return {name: value for name, value in variables.items() if not why_refused(name)}
