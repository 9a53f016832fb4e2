"""Asking axe-core, which is vendored beside this file, what keeps people out of a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
#: Of the rules that axe-core applies unasked, those about colours.
COLOURS = ["color-contrast", "link-in-text-block"]
GRAVE = {"serious", "critical"}


def grave_violations(page: Page, *, only_colours: bool = False) -> list[str]:
    """What axe-core finds that keeps people out. It is evaluated by the debugger, which no policy of the page stops.

    Arguments:
        only_colours: leave out the rules that a change of theme alone cannot break.
    """
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    chosen = {"runOnly": COLOURS} if only_colours else {}
    found: dict[str, Any] = page.evaluate("options => axe.run(options)", {"resultTypes": ["violations"], **chosen})
    return [
        f"{rule['impact']} {rule['id']}: {json.dumps([node['html'][:200] for node in rule['nodes'][:3]])}"
        for rule in found["violations"]
        if rule["impact"] in GRAVE
    ]
