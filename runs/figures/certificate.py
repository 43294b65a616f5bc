"""A picture of a run's certificate, for the documentation: its first screen, as a reader of 1280 pixels sees it.

python runs/figures/certificate.py out/demo docs/images/certificate.png
"""

import sys
import tempfile
from pathlib import Path

from drawing import open_page
from ropewalk.jobs.report.headline import certificate
from ropewalk.jobs.report.page import write_page
from ropewalk.jobs.report.run_folder import read_run


def main(run: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, open_page(1120, 1176) as page:
        page_file = Path(folder) / "certificate.html"
        write_page(page_file, certificate(read_run(run)))
        page.goto(page_file.as_uri())
        page.locator("html[data-drawn]").wait_for()
        page.screenshot(path=out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
