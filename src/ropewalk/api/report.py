"""`ropewalk.report`: a run as a certificate, one HTML page of every table, interval and plot."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ropewalk.api.arguments import Flag, Force, Place

if TYPE_CHECKING:
    from ropewalk.jobs.report.certificate import Certificate


def report(
    folder: Annotated[Place, Flag("A run folder: what eval or demo wrote.", metavar="RUN")],
    out: Annotated[
        Place | None,
        Flag("The page to write; an older report is replaced. [default: RUN/report.html]", ("-o", "--out")),
    ] = None,
    *,
    margin: Annotated[float, Flag("Bits per token that a length may lose and still hold.")] = 0.1,
    force: Force = False,
) -> "Certificate":
    """Made from the run's records alone: how far each method reads, what it costs, and how sure that is.

    Raises RopewalkError for a folder that holds no run, and for an `out` that is something else than an older report.

        ropewalk.evaluate("ropewalk-tiny", "out/eval", lengths=640, documents=2, tasks=(), speed=False)
        page = ropewalk.report("out/eval")
        page.title, page.to_markdown(), page.out
    """
    from ropewalk.jobs.report.certificate import Certificate
    from ropewalk.jobs.report.headline import certificate
    from ropewalk.jobs.report.page import write_page
    from ropewalk.jobs.report.run_folder import read_run

    place = Path(out) if out is not None else Path(folder) / "report.html"
    made = certificate(read_run(Path(folder)), margin)
    return Certificate(place, write_page(place, made, force=force), made)
