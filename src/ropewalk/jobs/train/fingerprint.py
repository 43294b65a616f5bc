"""One word for what a live model's rotary tables are, measured: the same on every process and at every checkpoint."""

import hashlib
from typing import Any

from ropewalk.errors import Mismatch
from ropewalk.jobs.train.parallel import Parallel
from ropewalk.models.attach import Attached
from ropewalk.models.live import find_tables, read_live


def rotary_fingerprint(model: Any) -> str:
    """The first 12 hex digits of the SHA-256 of every table's frequencies as they are in memory, dtype and factor included."""
    found = hashlib.sha256()
    for layer_type, tables in sorted(find_tables(model, read_live(model)).items()):
        for table in tables:
            inv_freq = table.inv_freq.detach().cpu()
            m = float(getattr(table.module, f"{table.prefix}attention_scaling"))
            found.update(f"{layer_type} {inv_freq.dtype} {m!r}".encode() + inv_freq.float().numpy().tobytes())
    return found.hexdigest()[:12]


def check_rotary(model: Any, attached: Attached, parallel: Parallel) -> str:
    """Measure cos and sin against the plan on every process; the fingerprint. Raises Mismatch on every process alike."""
    try:
        attached.check()
        mine = rotary_fingerprint(model)
    except Mismatch as error:
        mine = str(error)
    everyone = parallel.everyone(mine)
    wrong = {rank: value for rank, value in enumerate(everyone) if len(value) != 12}
    if wrong:
        rank, value = next(iter(wrong.items()))
        raise Mismatch(f"process {rank} does not rotate as the plan says: {value}")
    if len(set(everyone)) > 1:
        raise Mismatch(
            f"processes rotate differently: {', '.join(f'{rank}: {value}' for rank, value in enumerate(everyone))}.\n"
            "  A buffer was not initialised, or was rounded, on some of them."
        )
    return mine
