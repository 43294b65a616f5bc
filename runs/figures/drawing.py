"""What the pictures share: one look, and a browser that photographs a page. Needs playwright and Chromium, as the tests do."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1280, 460
LIGHT, MIDDLE, DARK = "#9ecae9", "#1f7fd1", "#08306b"  # of a quantity that grows


@contextmanager
def open_page(width: int, height: int) -> Iterator[Any]:
    with sync_playwright() as driver:
        path = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
        browser.close()


def photograph(made: go.Figure, out: Path, **layout: Any) -> None:
    made.update_layout(
        template="plotly_white", width=WIDTH, height=HEIGHT, font={"family": "system-ui, sans-serif", "size": 14},
        **{"margin": {"l": 70, "r": 20, "t": 40, "b": 60}, **layout},
    )  # fmt: skip
    with open_page(WIDTH + 16, HEIGHT + 16) as page:
        page.set_content(made.to_html(include_plotlyjs=True, config={"staticPlot": True}))
        page.locator(".main-svg").first.wait_for()
        page.screenshot(path=out)
