#!/usr/bin/env python
"""Django's command line for Zenith; `manage.py up` starts everything on this machine."""

import os
import sys


def main() -> None:
    """Run the management command that the arguments name."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zenith_site.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError:
        sys.exit("Django is not installed in this Python: use `make run`, or pip install -r requirements.txt.")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
