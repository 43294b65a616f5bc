"""Names of GGUFs: which of several are models, and which are parts of one."""

import re

SPLIT = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
MOST_PARTS = 4096
SHOWN = 24  # names in a message
BESIDE = ("mmproj", "imatrix")  # in names of files that lie beside a model and are none


def models_among(names: list[str]) -> list[str]:
    """Of the names of GGUFs those that are models: of one in parts the first alone, and nothing that lies beside a model."""
    firsts = [name for name in names if not (split := SPLIT.fullmatch(name)) or int(split["number"]) == 1]
    lone = [name for name in firsts if not any(word in name.lower() for word in BESIDE)]
    return lone or firsts or names[:1]


def listed(names: list[str], before: str = "") -> str:
    """For a message; `before` each."""
    more = f"\n  ... and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return "\n".join(f"  {before}{name}" for name in names[:SHOWN]) + more
