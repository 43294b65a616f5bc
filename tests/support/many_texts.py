"""Texts that tokenizers cut apart: code, scripts, digits, blanks of every kind, and special tokens in the middle of words."""

import random
from pathlib import Path

import ropewalk

WORDS = (
    "the quick brown Fox jumps over Lazy DOGS can't we'll I'VE they'd naïve façade Straße ΑΒΓ αβγ Привет мир 你好世界 "
    "こんにちは 안녕하세요 مرحبا שלום हिन्दी ไทย 12345 3.14159 1,000,000 0x1F ½ ² Ⅷ ٣٤٥ foo_bar CamelCase HTTPServer <tag/> "
    "{}[]()*&^%$#@! ... --- == != ++ \\n \u2003 \u200b e\u0301 ﬁ 👍🏽 👨\u200d👩\u200d👧 🇩🇪"
).split(" ")
WORDS += ["\u00a0", "\t", "\n", "\r\n", "\n\n", "    a  b", " "]
RANGES = (
    (0x20, 0x7F), (0xA0, 0x250), (0x370, 0x530), (0x590, 0x700), (0x900, 0xA00), (0xE00, 0xE80), (0x2000, 0x2070),
    (0x3040, 0x3100), (0x4E00, 0x5000), (0xAC00, 0xAD00), (0x1F300, 0x1F6FF), (0x1D400, 0x1D500), (1, 0x20), (0xFE00, 0xFE10),
)  # fmt: skip
BITS = [" ", "  ", "\n", "\t", "\r", "\r\n", "a", "B", "1", "23", ".", "'s", "'LL", "é", "中", "\u00a0"]


def many_texts(count=10_000, special=(), seed=0):
    chance = random.Random(seed)
    code = [path.read_text(encoding="utf-8") for path in sorted(Path(ropewalk.__file__).parent.rglob("*.py"))[:60]]

    def one(kind):
        if kind == 0:
            text = chance.choice(code)
            start = chance.randrange(max(len(text) - 200, 1))
            return text[start : start + chance.randrange(1, 200)]
        if kind == 1:
            return chance.choice([" ", "  ", "\n", ""]).join(chance.choices(WORDS, k=chance.randrange(1, 20)))
        if kind == 2:
            return "".join(chr(chance.randrange(*chance.choice(RANGES))) for _ in range(chance.randrange(1, 30)))
        if kind == 3:
            return "".join(chance.choices(BITS, k=chance.randrange(1, 25)))
        parts = chance.choices(WORDS, k=chance.randrange(1, 8))
        if special:
            parts.insert(chance.randrange(len(parts) + 1), chance.choice(special))
        return chance.choice([" ", ""]).join(parts)

    return [one(number % 5) for number in range(count)]
