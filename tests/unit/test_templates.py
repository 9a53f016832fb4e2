"""The rules of the pages that a reviewer would otherwise have to remember."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "templates"
STATIC = ROOT / "static"

PAGES = sorted(TEMPLATES.rglob("*.html"))
FRAGMENTS = [page for page in PAGES if page.name.startswith("_")]
PARTS_WITHOUT_ROOT = {
    "_frame.html", "_messages.html", "_nav.html", "_nav_entry.html", "_task_row.html", "_tabs.html", "_pager.html", "_empty.html",
    "_fields.html", "_chart.html", "_key.html", "_range.html", "_summary.html", "_total.html", "_comparison.html", "_heat.html",
    "_actions.html", "_list_row.html", "_traceback.html", "_group_line.html", "_node_row.html", "_log_blocks.html",
    "_notice.html", "_sign.html", "_delivery.html", "_relative.html",
    "_nav_count.html", "_nav_counts.html", "_under_way.html", "_outcomes.html",
}  # fmt: skip

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TEMPLATES)))


def sprite_symbols() -> set[str]:
    return set(re.findall(r'<symbol id="([^"]+)"', (STATIC / "vendor/tabler/sprite.svg").read_text()))


def icons_used() -> set[str]:
    tags = {
        name for page in PAGES for name in re.findall(r'{%\s*(?:icon|nav_entry "[^"]+" "[^"]+")\s+"([^"]+)"', page.read_text())
    }
    return tags | {name for page in PAGES for name in re.findall(r'icon="([^"]+)"', page.read_text())}


@each_page
def test_no_page_carries_inline_styles_or_scripts(page: Path) -> None:
    # The content security policy forbids them, so they would silently do nothing.
    text = page.read_text()
    assert not re.search(r"<style\b|\sstyle\s*=", text)
    assert not re.search(r"<script\b(?![^>]*\bsrc=)", text)
    assert not re.search(r"\s(?:on[a-z]+|hx-on[:\w-]*)\s*=|javascript:", text)


@each_page
def test_no_page_links_to_nowhere(page: Path) -> None:
    assert not re.search(r'(?:href|action)=""|href="#"', page.read_text())


@each_page
def test_no_page_needs_another_host(page: Path) -> None:
    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', page.read_text())


@each_page
def test_every_form_that_posts_carries_the_csrf_token(page: Path) -> None:
    for form in re.findall(r'<form[^>]*method="post".*?</form>', page.read_text(), re.DOTALL):
        assert "{% csrf_token %}" in form, form


@each_page
def test_every_static_file_that_a_page_names_exists(page: Path) -> None:
    for path in re.findall(r"{% static '([^']+)' %}", page.read_text()):
        assert (STATIC / path).is_file(), path


@pytest.mark.parametrize(
    "fragment",
    [fragment for fragment in FRAGMENTS if fragment.name not in PARTS_WITHOUT_ROOT],
    ids=lambda fragment: str(fragment.relative_to(TEMPLATES)),
)
def test_a_fragment_is_one_element_with_its_name_as_id(fragment: Path) -> None:
    first_tag = re.search(r"<[a-z]+[^>]*>", fragment.read_text())
    assert first_tag
    assert f'id="{fragment.stem.removeprefix("_")}"' in first_tag.group()


def test_the_sprite_holds_every_icon_that_the_pages_use() -> None:
    assert icons_used() <= sprite_symbols()
    assert sprite_symbols() == set((STATIC / "vendor/tabler/icons.txt").read_text().split())


def test_the_vendor_readme_names_the_versions_that_the_script_pins() -> None:
    script = (ROOT / "tools/vendor_assets.py").read_text()
    readme = (STATIC / "vendor/README.md").read_text()
    pins = re.findall(r'Package\(\s*"([^"]+)",\s*"([^"]+)"', script)
    assert len(pins) == 4
    for name, version in pins:
        assert f"`{name}` | {version} |" in readme


def test_only_the_tokens_hold_colours() -> None:
    for sheet in (STATIC / "css").glob("*.css"):
        if sheet.name != "tokens.css":
            literal = re.search(r":[^;{}]*(?:#[0-9a-f]{3,8}\b|\brgba?\()", sheet.read_text(), re.IGNORECASE)
            assert not literal, f"{sheet.name}: {literal}"


# --- Contrast, as WCAG 2.2 defines it: 1.4.3 (text, 4.5) and 1.4.11 (edges of controls, 3) ---

Colour = tuple[float, float, float]

STATUSES = ["scheduled", "pending", "queued", "received", "started", "success", "retry", "failure", "revoked"]
THEMES = ("light", "dark")
BADGE_TINT = 0.13


def tokens(theme: str) -> dict[str, Colour]:
    found: dict[str, Colour] = {}
    for name, value in re.findall(r"--([a-z0-9-]+):\s*([^;]+);", (STATIC / "css/tokens.css").read_text()):
        colours = re.findall(r"#[0-9a-f]{6}", value)
        if colours:
            chosen = colours[THEMES.index(theme) if len(colours) == 2 else 0]
            found[name] = (int(chosen[1:3], 16) / 255, int(chosen[3:5], 16) / 255, int(chosen[5:7], 16) / 255)
    return found


def luminance(colour: Colour) -> float:
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Colour, other: Colour) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def tinted(colour: Colour, ground: Colour) -> Colour:
    red, green, blue = (BADGE_TINT * a + (1 - BADGE_TINT) * b for a, b in zip(colour, ground, strict=True))
    return red, green, blue


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("ground", ["z-bg", "z-panel", "z-raised", "z-inset"])
@pytest.mark.parametrize("text", ["z-text", "z-muted", "z-link", *(f"st-{status}" for status in STATUSES)])
def test_text_can_be_read_on_every_ground(theme: str, ground: str, text: str) -> None:
    colours = tokens(theme)
    assert contrast(colours[text], colours[ground]) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("status", STATUSES)
def test_a_badge_can_be_read_on_its_own_tint(theme: str, status: str) -> None:
    colours = tokens(theme)
    colour = colours[f"st-{status}"]
    assert contrast(colour, tinted(colour, colours["z-panel"])) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("ground", ["z-accent", "z-accent-hover", "z-danger", "z-danger-hover", "z-avatar-from", "z-avatar-to"])
def test_a_filled_button_can_be_read(theme: str, ground: str) -> None:
    colours = tokens(theme)
    assert contrast(colours["z-on-accent"], colours[ground]) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("ground", ["z-bg", "z-panel"])
@pytest.mark.parametrize("edge", ["z-edge", "z-focus"])
def test_the_edge_of_a_control_can_be_seen(theme: str, ground: str, edge: str) -> None:
    colours = tokens(theme)
    assert contrast(colours[edge], colours[ground]) >= 3
