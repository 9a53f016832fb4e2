"""Takes a picture of every page in both themes, at 1440 and 390 pixels: `python tools/screenshots.py FOLDER [--docs]`.

It is the browser test of all pages, run for its pictures: on sample data, with its own servers. `--docs` also copies those that
docs/ and the README show into docs/pictures/.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main() -> int:
    """Takes the pictures; returns the exit status of the test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--docs", action="store_true", help="copy those that docs/ shows into docs/pictures/")
    options = parser.parse_args()
    command = [sys.executable, "-m", "pytest", "-q", "tests/browser/test_pages.py", "-k", "in_order and not 768"]
    environment = {**os.environ, "ZENITH_SCREENSHOTS": str(options.folder.resolve()), "ZENITH_REQUIRE": "browser"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    if options.docs and done.returncode == 0:
        copy_for_docs(options.folder)
    return done.returncode


def copy_for_docs(folder: Path) -> None:
    """Copies the pictures named in the registry."""
    from tests.browser.registry import IN_DOCS

    target = ROOT / "docs" / "pictures"
    target.mkdir(parents=True, exist_ok=True)
    for name in IN_DOCS:
        for suffix in ("dark-1440", "light-1440", "dark-390"):
            shutil.copy(folder / f"{name}-{suffix}.png", target)


if __name__ == "__main__":
    sys.exit(main())
