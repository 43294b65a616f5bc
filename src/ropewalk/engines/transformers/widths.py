"""Reading config.json of transformers: how much of a head rotates, by the keys that the model's class reads."""

from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.class_defaults import ClassDefaults, class_of
from ropewalk.engines.transformers.fields import Fields
from ropewalk.engines.transformers.layers import head_dim
from ropewalk.engines.transformers.rope_dicts import SHARES
from ropewalk.engines.transformers.scaling import rope_type_of
from ropewalk.errors import BadConfig


def read_rotary_dim(fields: Fields, part: Fields, layer_type: str, kind: str) -> int:
    name, row = f"{layer_type}.rotary_dim", class_of(kind)
    head = head_dim(fields, layer_type)
    if mla := fields.whole("qk_rope_head_dim"):  # 0 where heads are plain: use_mla false, in DeepSeek-VL2's language model
        _check_share_of_latent(fields, part, head, mla)
        fields.note(name, mla, fields.where("qk_rope_head_dim"))
        return mla
    if rope_type_of(part) == "proportional":
        fields.note(name, head, "head_dim (proportional RoPE spans the whole head)")
        return head
    read = WIDTHS if row is None else row.widths
    share = part.number("partial_rotary_factor") if INSIDE in read else None
    source = part.where("partial_rotary_factor")
    if share is None:
        share = fields.first(f"{layer_type}.partial", *(key for key in SHARES if key in read))
        source = "partial rotation"
    if "rotary_dim" in read and (absolute := fields.whole("rotary_dim")) is not None:
        if share is not None and _channels(head, share) != absolute:
            raise BadConfig(
                f"{fields.where('rotary_dim')} is {absolute} but {source} is {share:g} of {head}.\n"
                "  Engines differ in which they read. Remove the wrong one."
            )
        fields.note(name, absolute, fields.where("rotary_dim"))
        return absolute
    if share is None:  # null is what transformers keeps: no share of the head, but all of it
        null = any(key in fields.config for key in SHARES if key in read)
        share, source = 1.0 if null else known.DEFAULT_PARTIAL.get(kind, 1.0), f"default of {kind}"
    if not 0 < share <= 1:
        raise BadConfig(f"{source} is {share:g}; the rotated share of a head must be above 0 and at most 1.")
    rotated = int(head * share)
    if row is not None:
        _check_widths(fields, part, row, head, rotated)
    said = fields.where("head_dim") if "head_dim" in fields.origin else "head_dim"
    fields.note(name, rotated, said if share == 1 else f"head_dim {head} x {share:g} ({source})")
    return rotated


def _channels(head: int, share: float) -> int:
    """Of whatever number is written, which may be beyond all integers."""
    return int(max(min(head * share, 2.0**53), -(2.0**53)))


INSIDE = "rope_parameters.partial_rotary_factor"
WIDTHS = (*SHARES, INSIDE, "rotary_dim")


def _check_share_of_latent(fields: Fields, part: Fields, head: int, rotated: int) -> None:
    """Latent attention rotates all of qk_rope_head_dim, which may also be stated as a share of the head (DeepSeek-V4)."""
    if rope_type_of(part) == "proportional":
        return
    for where, key in ((part, "partial_rotary_factor"), (fields, "partial_rotary_factor")):
        share = where.number(key) if where.states(key) else None
        own = known.DEFAULT_PARTIAL.get(fields.text("model_type") or "", 1.0)
        if share is not None and _channels(head, share) != rotated and (share != own or "head_dim" in fields):
            raise BadConfig(
                f"{where.where(key)} is {share:g}, beside qk_rope_head_dim {rotated}: latent attention rotates all of that, "
                "and engines differ in what they make of a share.\n  Take it out."
            )


def _check_widths(fields: Fields, part: Fields, row: ClassDefaults, head: int, rotated: int) -> None:
    """A width that this class does not read, while other engines do; one that says the same harms nothing."""
    for key in WIDTHS:
        where = part if key == INSIDE else fields
        name = key.rpartition(".")[2]
        if key in row.widths or not where.states(name):
            continue
        value = where.number(name) or 0.0
        width = _channels(1 if name == "rotary_dim" else head, value)
        if width != rotated:
            instead = f" It reads {' and '.join(row.widths)}." if row.widths else ""
            raise BadConfig(
                f"{where.where(name)} is {value:g}, which {row.name} of transformers 5.23 does not read: {rotated} of {head} "
                f"channels rotate there, where other engines rotate {width}.\n"
                f"  Take it out, or write what the weights were trained with where every engine reads it.{instead}"
            )
