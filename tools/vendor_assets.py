"""Copy the pinned third-party assets of the pages to static/vendor, and those of their tests to tests/browser/vendor.

Run it after changing a version here or a name in static/vendor/tabler/icons.txt, and commit the result. It needs npm; nothing
else in Zenith does, and nothing is downloaded while Zenith runs.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENDOR = ROOT / "static" / "vendor"
TESTS_VENDOR = ROOT / "tests" / "browser" / "vendor"

# Other elements could bring colours, scripts or links into the sprite.
DRAWING = re.compile(r"<(?:path|circle|ellipse|line|polyline|polygon|rect) [a-z0-9 .,=\"-]+/>", re.IGNORECASE)
EMPTY_BOX = '<path stroke="none" d="M0 0h24v24H0z" fill="none" />'


@dataclass(frozen=True)
class Package:
    """One npm package, pinned by version and by the digest of its archive."""

    name: str
    version: str
    integrity: str


TABLER = Package(
    "@tabler/icons",
    "3.51.0",
    "sha512-0pinvPZz7YeX+OSfxuEAbnEPWbocVXW5iU8h5lh41pYG8sZuQfpWECC980lxOT0clGIcNGn8xsBr+zKaRGdA/g==",
)
INTER = Package(
    "inter-ui",
    "4.1.1",
    "sha512-451h0J29HyOmA+JXgSi/6M12tL7ZCZ8arYKZUXiOXTJpJbAKqJvFh3k5SiV3x7tKe0C0KyrKUUiQIvvZ2PQDcA==",
)
UPLOT = Package(
    "uplot",
    "1.6.32",
    "sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==",
)
AXE = Package(
    "axe-core",
    "4.14.1",
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
)


def fetch(package: Package, folder: Path) -> tarfile.TarFile:
    """Download a package's archive with npm to `folder` and open it; exit if its digest differs."""
    command = ["npm", "pack", "--json", "--pack-destination", str(folder), f"{package.name}@{package.version}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    packed = json.loads(done.stdout)[0]
    if packed["integrity"] != package.integrity:
        sys.exit(f"{package.name} {package.version}: digest is {packed['integrity']}, expected {package.integrity}")
    return tarfile.open(folder / packed["filename"])


def read(archive: tarfile.TarFile, path: str) -> bytes:
    """Return one file of a package; exit with a message if it does not exist."""
    try:
        member = archive.extractfile(f"package/{path}")
    except KeyError:
        member = None
    if member is None:
        sys.exit(f"no file {path} in the package")
    return member.read()


def symbol(name: str, svg: str) -> str:
    """Turn an outline icon into a sprite symbol; the page's `.icon` rule sets stroke and fill."""
    body = svg[svg.index(">") + 1 : svg.rindex("</svg>")].replace(EMPTY_BOX, "")
    drawings = [line.strip().replace(" />", "/>") for line in body.splitlines() if line.strip()]
    for drawing in drawings:
        if not DRAWING.fullmatch(drawing):
            sys.exit(f"icon {name}: unexpected markup {drawing!r}")
    return f'<symbol id="{name}" viewBox="0 0 24 24">{"".join(drawings)}</symbol>'


def vendor_icons(archive: tarfile.TarFile) -> None:
    """Write the sprite of the icons listed in icons.txt."""
    folder = VENDOR / "tabler"
    names = (folder / "icons.txt").read_text().split()
    sprite = io.StringIO()
    sprite.write('<svg xmlns="http://www.w3.org/2000/svg">\n')
    for name in sorted(names):
        sprite.write(symbol(name, read(archive, f"icons/outline/{name}.svg").decode()) + "\n")
    sprite.write("</svg>\n")
    (folder / "sprite.svg").write_text(sprite.getvalue())
    (folder / "LICENSE").write_bytes(read(archive, "LICENSE"))


def vendor_font(archive: tarfile.TarFile) -> None:
    """Copy Inter's variable-weight fonts: the small Latin one, and the full one for pages that need more characters."""
    folder = VENDOR / "inter"
    (folder / "InterVariable-latin.woff2").write_bytes(read(archive, "variable-latin/InterVariable-subset.woff2"))
    (folder / "InterVariable.woff2").write_bytes(read(archive, "variable/InterVariable.woff2"))
    (folder / "LICENSE").write_bytes(read(archive, "LICENSE.txt"))


def copy(archive: tarfile.TarFile, folder: Path, files: dict[str, str]) -> None:
    """Copy files of a package; `files` maps names in `folder` to paths in the package."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in files.items():
        (folder / name).write_bytes(read(archive, path))


def vendor_charts(archive: tarfile.TarFile) -> None:
    """Copy uPlot and its stylesheet: the IIFE build, which sets `window.uPlot` and is half the size of the unminified module."""
    files = {"uPlot.min.js": "dist/uPlot.iife.min.js", "uPlot.min.css": "dist/uPlot.min.css", "LICENSE": "LICENSE"}
    copy(archive, VENDOR / "uplot", files)


def vendor_axe(archive: tarfile.TarFile) -> None:
    """Copy axe-core for the browser tests."""
    copy(archive, TESTS_VENDOR, {"axe.min.js": "axe.min.js", "LICENSE": "LICENSE"})


def main() -> None:
    """Vendor all packages."""
    with tempfile.TemporaryDirectory() as scratch:
        with fetch(TABLER, Path(scratch)) as archive:
            vendor_icons(archive)
        with fetch(INTER, Path(scratch)) as archive:
            vendor_font(archive)
        with fetch(UPLOT, Path(scratch)) as archive:
            vendor_charts(archive)
        with fetch(AXE, Path(scratch)) as archive:
            vendor_axe(archive)


if __name__ == "__main__":
    main()
