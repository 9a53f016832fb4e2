"""The rules of the pages that a reviewer would otherwise have to remember."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import product
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
    "_notice.html", "_sign.html", "_delivery.html", "_relative.html", "_cut.html",
    "_nav_count.html", "_nav_counts.html", "_under_way.html", "_outcomes.html",
    "_search_box.html", "_save_as.html", "_problem.html", "_question.html", "_theme.html", "_selection.html", "_decide_all.html",
    "_node_columns.html", "_versions.html", "_figure.html", "_application_choice.html",
    "_arguments.html", "_burst.html", "_step.html", "_peek.html",
    "_application_switch.html", "_attached_actions.html", "_attached_pause.html",
    "_page_tabs.html", "_sections.html", "_members.html", "_fold_row.html", "_newest_traceback.html", "_trends.html",
}  # fmt: skip

TEXTS = {str(page.relative_to(TEMPLATES)): page.read_text() for page in PAGES}


def matches(pattern: str) -> list[tuple[str, str]]:
    """Return the pages in which a pattern is found, each with what it found there."""
    return [(page, found.group()) for page, text in TEXTS.items() for found in re.finditer(pattern, text)]


def sprite_symbols() -> set[str]:
    return set(re.findall(r'<symbol id="([^"]+)"', (STATIC / "vendor/tabler/sprite.svg").read_text()))


def icons_used() -> set[str]:
    tags = {
        name for page in PAGES for name in re.findall(r'{%\s*(?:icon|nav_entry "[^"]+" "[^"]+")\s+"([^"]+)"', page.read_text())
    }
    return tags | {name for page in PAGES for name in re.findall(r'icon="([^"]+)"', page.read_text())}


def test_there_are_pages_to_look_at() -> None:
    assert len(PAGES) > 100
    assert len(FRAGMENTS) > len(PARTS_WITHOUT_ROOT)
    assert {fragment.name for fragment in FRAGMENTS} >= PARTS_WITHOUT_ROOT


@pytest.mark.parametrize(
    "forbidden",
    [r"<style\b|\sstyle\s*=", r"<script\b(?![^>]*\bsrc=)", r"\s(?:on[a-z]+|hx-on[:\w-]*)\s*=|javascript:"],
    ids=["styles", "scripts", "handlers"],
)
def test_no_page_carries_what_stands_inline(forbidden: str) -> None:
    # The content security policy forbids it, so it would silently do nothing.
    assert matches(forbidden) == []


def test_no_page_links_to_nowhere() -> None:
    assert matches(r'(?:href|action)=""|href="#"') == []


def test_no_page_needs_another_host() -> None:
    assert matches(r'(?:src|href|action)="(?:https?:)?//') == []


def test_every_form_that_posts_carries_the_csrf_token() -> None:
    forms = matches(r'(?s)<form[^>]*method="post".*?</form>')
    drawn = matches(r"{% post_form ")  # the tag puts the token in: test_template_blocks.py
    assert len(forms) + len(drawn) > 10
    assert [page for page, form in forms if "{% csrf_token %}" not in form] == []


def test_every_static_file_that_a_page_names_exists() -> None:
    named = {(page, path) for page, text in TEXTS.items() for path in re.findall(r"{% static '([^']+)' %}", text)}
    assert named
    assert [(page, path) for page, path in named if not (STATIC / path).is_file()] == []


def test_a_fragment_is_one_element_with_its_name_as_id() -> None:
    strays = []
    for fragment in FRAGMENTS:
        first_tag = re.search(r"<[a-z]+[^>]*>", fragment.read_text())
        named = f'id="{fragment.stem.removeprefix("_")}"'
        if fragment.name not in PARTS_WITHOUT_ROOT and not (first_tag and named in first_tag.group()):
            strays.append(str(fragment.relative_to(TEMPLATES)))
    assert strays == []


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


def hard_to_tell(pairs: Iterable[tuple[str, str]], theme: str, least: float) -> dict[tuple[str, str], float]:
    """Return the pairs of tokens that differ too little, with their contrast."""
    colours = tokens(theme)
    found = {(one, other): contrast(colours[one], colours[other]) for one, other in pairs}
    return {pair: value for pair, value in found.items() if value < least}


each_theme = pytest.mark.parametrize("theme", THEMES)


@each_theme
def test_text_can_be_read_on_every_ground(theme: str) -> None:
    texts = ["z-text", "z-muted", "z-link", *(f"st-{status}" for status in STATUSES)]
    assert hard_to_tell(product(texts, ["z-bg", "z-panel", "z-raised", "z-inset"]), theme, 4.5) == {}


@each_theme
def test_a_badge_can_be_read_on_its_own_tint(theme: str) -> None:
    colours = tokens(theme)
    found = {
        status: contrast(colours[f"st-{status}"], tinted(colours[f"st-{status}"], colours["z-panel"])) for status in STATUSES
    }
    assert {status: value for status, value in found.items() if value < 4.5} == {}


@each_theme
def test_a_filled_button_can_be_read(theme: str) -> None:
    grounds = ["z-accent", "z-accent-hover", "z-danger", "z-danger-hover", "z-avatar-from", "z-avatar-to"]
    assert hard_to_tell(product(["z-on-accent"], grounds), theme, 4.5) == {}


@each_theme
def test_the_edge_of_a_control_can_be_seen(theme: str) -> None:
    assert hard_to_tell(product(["z-edge", "z-focus"], ["z-bg", "z-panel"]), theme, 3) == {}
