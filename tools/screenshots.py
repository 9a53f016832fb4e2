"""Take a screenshot of every page in both themes, 1440 and 390 pixels wide: `python tools/screenshots.py FOLDER [--docs]`.

This runs the browser test of all pages, on sample data and with its own servers. With `--docs`, it takes only the screenshots
that docs/ and the README show, and writes them to docs/pictures/ as WebP, cropped at the bottom.
"""

from __future__ import annotations

import argparse
import base64
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

TARGET = ROOT / "docs" / "pictures"
#: Largest ratio of height to width; taller pages are cropped.
TALLEST = {1440: 0.72, 390: 2.0}
#: Largest size of a picture in the repository, in bytes.
MOST = 150_000
# Chromium converts PNG to WebP, so that no image library is needed.
_CONVERT = """async ([png, tallest]) => {
    const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
    const height = Math.min(image.height, Math.round(image.width * tallest));
    const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height });
    canvas.getContext("2d").drawImage(image, 0, 0);
    return canvas.toDataURL("image/webp", 0.85).split(",")[1];
}"""


def main() -> int:
    """Take the screenshots; return the exit status of the test."""
    from tests.browser.registry import IN_DOCS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="directory for the screenshots")
    parser.add_argument(
        "--docs", action="store_true", help="take only the screenshots that docs/ shows, and also write them to docs/pictures/"
    )
    options = parser.parse_args()
    selection = "in_order"
    if options.docs:
        # The tests' ids end in the page's name.
        selection += f" and ({' or '.join(sorted({f'[{picture.page}]' for picture in IN_DOCS}))})"
    command = [sys.executable, "-m", "pytest", "-q", "tests/browser/test_pages.py", "-k", selection]
    environment = {**os.environ, "ZENITH_SCREENSHOTS": str(options.folder.resolve()), "ZENITH_REQUIRE": "browser"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    if options.docs and done.returncode == 0:
        put_into_docs(options.folder)
    return done.returncode


def put_into_docs(folder: Path) -> None:
    """Convert the screenshots in the registry; exit with a message if one is too large."""
    from playwright.sync_api import sync_playwright

    from tests.browser.registry import IN_DOCS
    from tests.conftest import find_browser

    TARGET.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        page = browser.new_page()
        for picture in IN_DOCS:
            png = base64.b64encode((folder / f"{picture.name}.png").read_bytes()).decode()
            webp = base64.b64decode(page.evaluate(_CONVERT, [png, TALLEST[picture.width]]))
            if len(webp) > MOST:
                sys.exit(f"{picture.name} has {len(webp):,} bytes; the limit is {MOST:,}")
            (TARGET / f"{picture.name}.webp").write_bytes(webp)
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
