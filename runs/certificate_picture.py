"""A picture of a run's certificate, for the documentation: its first screen, as a reader of 1280 pixels sees it.

    python runs/certificate_picture.py out/demo docs/images/certificate.png

Needs playwright and Chromium, as the tests of pages do.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from ropewalk.jobs.report.headline import certificate
from ropewalk.jobs.report.page import write_page
from ropewalk.jobs.report.run_folder import read_run

WIDTH, HEIGHT = 1120, 1176


def main(run: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        page_file = Path(folder) / "certificate.html"
        write_page(page_file, certificate(read_run(run)))
        path = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(page_file.as_uri())
        page.locator("html[data-drawn]").wait_for()
        page.screenshot(path=out)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
