"""How llama.cpp cuts a text before it merges bytes: expressions by the name that a GGUF gives them, one after the other.

Copied from llama.cpp 0c1e57098, src/llama-vocab.cpp, llm_tokenizer_bpe; where its expressions stand beside those of a
tokenizer.json, its own are here. A name that is not here is refused: a text cut otherwise is another text to the model.
"""

from dataclasses import dataclass

ENDINGS = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
LLAMA3 = rf"{ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{BLANKS}"
QWEN2 = rf"{ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{BLANKS}"
UPPER, LOWER = r"((?=[\p{L}])([^a-z]))", r"((?=[\p{L}])([^A-Z]))"
CASED = r"[^\r\n\p{L}\p{N}]?"
TEKKEN = rf"{CASED}{UPPER}*{LOWER}+|{CASED}{UPPER}+{LOWER}*|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{BLANKS}"
ENDED = rf"{CASED}{UPPER}*{LOWER}+{ENDINGS}?|{CASED}{UPPER}+{LOWER}*{ENDINGS}?"
GPT4O = rf"{ENDED}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{BLANKS}"
DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")


@dataclass(frozen=True, slots=True)
class Cuts:
    """whole: is a cut that is a token taken as one, whatever the merges say?  begins: does a text begin with BOS unasked?"""

    expressions: tuple[str, ...]
    whole: bool = False
    begins: bool = False


def _named(names: str, cuts: Cuts) -> dict[str, Cuts]:
    return dict.fromkeys(names.split(), cuts)


CUTS = {
    "": Cuts(DEFAULT), "default": Cuts(DEFAULT),
    **_named("llama3 llama-v3 llama-bpe falcon3 pixtral lfm2", Cuts((LLAMA3,), whole=True, begins=True)),
    **_named("dbrx smaug-bpe", Cuts((LLAMA3,))),
    **_named("gpt-2 phi-2 mpt olmo a.x-4.0 mellum exaone4 trillion granite-docling", Cuts((GPT2,))),
    **_named("starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", Cuts((r"\p{N}", GPT2))),
    **_named("qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2", Cuts((QWEN2,))),
    "tekken": Cuts((TEKKEN,), whole=True, begins=True),
    **_named("gpt-4o llama4 kanana2 minimax-m2", Cuts((GPT4O,))),
}  # fmt: skip
