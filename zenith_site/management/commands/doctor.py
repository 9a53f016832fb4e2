"""`manage.py doctor`: checks an installation, and says how to fix what is wrong."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.utils.module_loading import autodiscover_modules

from zenith_site.doctor import faults, machine, servers
from zenith_site.doctor.registry import CHECKS, Level, Result, run, run_application
from zenith_site.problems import UNAVAILABLE

#: Importing these registers their checks; each app's checks are in its `doctor.py`.
MODULES: Final = (servers, machine, faults)
STATUSES: Final = {Level.OK: 0, Level.SKIPPED: 0, Level.NOTICE: 0, Level.WARNING: 1, Level.ERROR: 2}
_MARKS: Final = {Level.OK: "ok", Level.SKIPPED: "--", Level.NOTICE: "..", Level.WARNING: "!!", Level.ERROR: "XX"}


class Command(BaseCommand):
    """Checks an installation; the exit status is 0 if nothing is wrong, 1 for warnings, 2 for errors."""

    help = (
        "Check servers, clocks, workers, engines, settings and this machine, and print how to fix each finding. "
        "Exit status: 0 nothing is wrong, 1 warnings, 2 errors. It changes nothing."
    )
    # Django's checks are one of the command's own, and some of them need a database that may be unreachable.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        autodiscover_modules("doctor")
        parser.add_argument(
            "--only", action="append", choices=list(CHECKS), metavar="CHECK",
            help=f"run only this check; may be repeated: {', '.join(CHECKS)}",
        )  # fmt: skip
        parser.add_argument(
            "--application", metavar="NAME", help="say why tasks of this application wait, are lost or run twice, instead"
        )
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the checks and print their findings. Raises SystemExit if something is wrong."""
        results = _of_application(options["application"]) if options["application"] else run(options["only"] or ())
        worst = max((result.level for result in results), key=STATUSES.__getitem__, default=Level.OK)
        (self._print_json if options["json"] else self._print)(results, worst)
        if STATUSES[worst]:
            raise SystemExit(STATUSES[worst])

    def _print_json(self, results: list[Result], worst: Level) -> None:
        checks = [
            {
                "name": item.name,
                "status": item.level,
                "missing": item.missing or item.skipped,
                "findings": [asdict(one) for one in item.findings],
            }
            for item in results
        ]
        self.stdout.write(json.dumps({"status": worst, "checks": checks}, indent=2))

    def _print(self, results: list[Result], worst: Level) -> None:
        style = {Level.OK: self.style.SUCCESS, Level.WARNING: self.style.WARNING, Level.ERROR: self.style.ERROR}
        for result in results:
            mark = style.get(result.level, str)(_MARKS[result.level])
            self.stdout.write(f"{mark} {result.name}" + _reason(result))
            for finding in result.findings:
                self.stdout.write(f"     {finding.what}\n       → {finding.fix}")
        counts = [
            f"{number} {level}" for level in Level
            if (number := sum(item.level == level for item in results)) or level != Level.NOTICE
        ]  # fmt: skip
        self.stdout.write(f"\n{', '.join(counts)}")


def _of_application(name: str) -> list[Result]:
    try:
        results = run_application(name)
    except UNAVAILABLE as failed:
        raise CommandError(
            f"PostgreSQL or Redis does not answer, which manage.py doctor checks: {failed}", returncode=2
        ) from None
    if results is None:
        raise CommandError(f"There is no application {name!r}; manage.py applications lists them.", returncode=2)
    return results


def _reason(result: Result) -> str:
    """Return why a check was skipped."""
    return f": {result.missing} does not answer" if result.missing else f": {result.skipped}" if result.skipped else ""
