"""`zenith`, the command of an installed Zenith and of its image, and `python -m zenith_site`: manage.py, without a clone."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the management command that the arguments name; `watch URL` is short for `up --watch URL`."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zenith_site.settings")
    # The directory may be an application's, with modules whose names are those of packages; Celery looks for tasks there anyway.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    from django.core.management import execute_from_command_line

    execute_from_command_line(["zenith", *expanded(sys.argv[1:])])


def expanded(arguments: list[str]) -> list[str]:
    """Return the arguments as manage.py takes them: `watch URL` starts everything, `watch NAME URL` is a command of its own."""
    if arguments[:1] == ["watch"] and "://" in "".join(arguments[1:2]):
        return ["up", "--watch", *arguments[1:]]
    return arguments


if __name__ == "__main__":
    main()
