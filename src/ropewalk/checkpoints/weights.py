"""Looking at safetensors files without loading them: is each whole, and are all there?"""

import json
import struct
from pathlib import Path

from ropewalk.errors import BadConfig

INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
NOT_FETCHED = "\n  Of a hub's model, pickles (*.bin) are never fetched, and it may have those alone."


def weight_files(folder: Path) -> list[Path]:
    """The checkpoint's safetensors files, each checked to be complete."""
    files = weights_of(folder)
    for path in files:
        check_safetensors(path)
    return files


def weights_of(folder: Path) -> list[Path]:
    """The checkpoint's safetensors files; BadConfig where one is not there, or pickles are, which are never opened."""
    index = folder / INDEX
    files = _shards(folder, index) if index.is_file() else sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = [path.name for pattern in PICKLES for path in folder.glob(pattern)]
        raise BadConfig(f"{folder} has no *.safetensors file.{_convert(folder, pickled) if pickled else NOT_FETCHED}")
    return files


def _convert(folder: Path, pickled: list[str]) -> str:
    return (
        f"\n  It has {pickled[0]}, a pickle, which can run code when opened: convert it on a machine you trust, with\n"
        f'  python -c "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; '
        f"[M.from_pretrained('{folder}', dtype='auto').save_pretrained('{folder}-safetensors'), "
        f"T.from_pretrained('{folder}').save_pretrained('{folder}-safetensors')]\""
    )


def _shards(folder: Path, index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadConfig(f"{index} is not a valid index: it must be JSON with a weight_map.") from None
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise BadConfig(f"{index} names {name!r}; shards must be *.safetensors files in the same folder.")
        if not (folder / name).is_file():
            raise BadConfig(f"{index.name} names {name}, which is not there: the download is incomplete.")
    return [folder / name for name in names]


def check_safetensors(path: Path) -> None:
    """Raise BadConfig unless the header is sound and the file is as long as it says."""
    size = path.stat().st_size
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(size, 100_000_000):
                raise ValueError("the header is longer than the file")
            header = json.loads(stream.read(length))
        end = max((t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"), default=0)
    except (ValueError, struct.error, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise BadConfig(f"{path} is not a safetensors file: {error}.") from None
    if 8 + length + end != size:
        raise BadConfig(
            f"{path} is {size:,} bytes, but its header describes {8 + length + end:,}: the file is truncated or damaged.\n"
            "  Download it again."
        )
