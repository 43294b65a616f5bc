"""The cards a plan knows: their memory and their speed, as data."""

import re
from dataclasses import dataclass

from ropewalk.errors import BadOption, UnknownName

GIB = 2**30
MOST_CARDS = 100_000


@dataclass(frozen=True, slots=True)
class Card:
    """gib: what torch reports as total, which is less than the name says.  tflops: bfloat16, dense, 10^12 per second."""

    name: str
    gib: float
    tflops: float
    source: str


# gib: "GPU 0 has a total capacity of ..." in public reports of torch.OutOfMemoryError, the smallest of them.
# tflops: the data sheet named. Data sheets of NVIDIA state twice as much "with sparsity"; that is halved here.
_TABLE = (
    Card("A100-40", 39.38, 312, "NVIDIA A100 data sheet"),
    Card("A100-80", 79.14, 312, "NVIDIA A100 data sheet"),
    Card("H100-80", 79.10, 989.4, "NVIDIA H100 SXM data sheet"),
    Card("H200-141", 139.72, 989.4, "NVIDIA H200 SXM data sheet"),
    Card("B200-180", 178.35, 2250, "NVIDIA B200 (HGX) data sheet"),
    Card("L40S-48", 44.34, 362, "NVIDIA L40S data sheet"),
    Card("4090-24", 23.52, 165.2, "NVIDIA Ada whitepaper 2.1, bf16 with fp32 sums"),
)
CARDS = {card.name: card for card in _TABLE}
SHORT = {"L40S": "L40S-48", "B200": "B200-180", "H200": "H200-141", "H100": "H100-80", "4090": "4090-24"}


def parse_cards(text: str) -> tuple[int, Card]:
    """8xH100-80 -> (8, the card); a name alone is one card."""
    found = re.fullmatch(r"(?:(\d+)\s*[xX*]\s*)?(\S+)", text.strip())
    if not found:
        raise BadOption(f"{text!r} does not name cards. Write COUNTxNAME, such as 8xH100-80.")
    count, name = int(found[1] or 1), found[2]
    if not 1 <= count <= MOST_CARDS:
        raise BadOption(f"{text!r} asks for {count:,} cards; write a count from 1 to {MOST_CARDS:,}.")
    upper = name.upper()
    card = CARDS.get(SHORT.get(upper, upper))
    if card is None:
        raise UnknownName("card", name, CARDS)
    return count, card
