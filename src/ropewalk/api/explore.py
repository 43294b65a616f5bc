"""`ropewalk.explore`: the RoPE Explorer, one page to play with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from ropewalk.api.arguments import Flag, Force, Model, OriginalLength, Place, as_place
from ropewalk.models.source import Source
from ropewalk.progress import SILENT, Progress
from ropewalk.scaling.units import as_length


@dataclass(frozen=True)
class Explorer:
    """out: the page.  size: bytes.  model: as the page holds the one that it opens on, where there is one."""

    out: Path
    size: int
    model: Mapping[str, Any] | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"out": str(self.out), "bytes": self.size, "model": self.model}


def explore(
    model: Annotated[
        Model | None,
        Flag("Open on this model: a folder, a config.json, a GGUF, a hub id, or ropewalk-tiny.", metavar="[MODEL]"),
    ] = None,
    out: Annotated[Place, Flag("The file to write; an older explorer is replaced.", ("-o", "--out"))] = "explorer.html",
    *,
    original_length: OriginalLength = None,
    force: Force = False,
    progress: Progress = SILENT,
) -> Explorer:
    """Write one HTML page that shows what each method does to the pairs of a model. It needs no network, and no torch.

    model: a folder, a config.json, a GGUF, a hub id, ropewalk-tiny, a live transformers model, its config, or a dict.

    Raises OutputExists for an `out` that is something else than an older explorer, without `force`.

        page = ropewalk.explore("ropewalk-tiny", "explorer.html")
        page.out, page.size
    """
    progress.begin("writing the explorer")
    from ropewalk.jobs.explore.page import opened, write_explorer

    place, shown, notes = as_place(out), None, ()  # type: Path, dict[str, Any] | None, tuple[str, ...]
    if model is not None:
        source = Source(model, original_length=original_length, progress=progress, weights=False)
        length = None if original_length is None else as_length(original_length)
        shown, notes = opened(source.name, source.config, source.spec, length), source.spec.warnings
    return Explorer(place, write_explorer(place, shown, force=force), shown, notes)
