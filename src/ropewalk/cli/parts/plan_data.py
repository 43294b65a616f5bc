"""`ropewalk plan --data`: how long the documents are under the model's tokenizer, and what share of them a stretch can use."""

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.bar import Bar
from rich.table import Table

from ropewalk.checkpoints.gguf_places import find_gguf
from ropewalk.cli.parts import progress
from ropewalk.cli.parts.console import Console
from ropewalk.engines.transformers.checkpoint import local_checkpoint
from ropewalk.errors import BadOption
from ropewalk.scaling.units import as_length

Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data", help="Training texts: file, folder, glob, .jsonl, .parquet, hub id owner/name:split or library-train; again."
    ),
]
TextField = Annotated[
    str | None, typer.Option("--text-field", help="Key or column of the text in rows of data (text); a,b joins several.")
]
MaxTokens = Annotated[
    str | None, typer.Option("--max-tokens", metavar="TOKENS", help="Read no more of the data than this: 10m.")
]
Cache = Annotated[
    Path | None, typer.Option("--cache", help="Keep the tokenised data in this folder (default: count and forget).")
]
WHAT = "tokenising"
WIDTH = 32  # of a bar, in characters


def asked_for(
    model: str, sources: list[str] | None, text_field: str | None, max_tokens: str | None, cache: Path | None, length: int
) -> dict[str, Any] | None:
    """Tokenises the sources, and counts; None where there are none. length: the tokens that a document is called long from."""
    if not sources:
        if max_tokens or cache or text_field:
            raise BadOption("--max-tokens, --cache and --text-field say how --data is read: give --data, or leave them out.")
        return None
    limit = as_length(max_tokens) if max_tokens else None
    from ropewalk.jobs.train.data.index import index_for
    from ropewalk.measure.texts import TEXT_FIELD
    from ropewalk.models.load import load_tokenizer

    gguf = find_gguf(model, weights=False)
    local = None if gguf else local_checkpoint(model)
    tokenizer = load_tokenizer(local.parent if local and local.is_file() else gguf or model)
    with (
        nullcontext(cache) if cache else tempfile.TemporaryDirectory() as folder,
        progress.Bar(WHAT) as bar,
    ):
        index = index_for(sources, tokenizer, Path(folder), bar, text_field=text_field or TEXT_FIELD, max_tokens=limit)
        return {"folder": str(index.folder) if cache else None, **_numbers(index, length)}


def _numbers(index: Any, length: int) -> dict[str, Any]:
    from ropewalk.jobs.train.data.packing import histogram

    long = index.lengths[index.lengths >= length]
    return {
        **index.facts,
        "longest": int(index.lengths.max()),
        "histogram": [found._asdict() for found in histogram(index)],
        "long": {
            "length": length,
            "documents": len(long),
            "tokens": int(long.sum()),
            "share": float(long.sum() / index.tokens.size),
            "rows": int((long // length).sum()),
        },
    }


def print_data(console: Console, data: dict[str, Any]) -> None:
    long, total = data["long"], data["tokens"]
    console.print(f"\n[bold]data[/]: {data['documents']:,} documents, {total:,} tokens, the longest {data['longest']:,}")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("tokens each", "documents", "tokens", "share of tokens"):
        table.add_column(title, justify="right")
    table.add_column()
    most = max(found["tokens"] for found in data["histogram"])
    for found in data["histogram"]:
        style = "cyan" if found["low"] >= long["length"] else "default"
        table.add_row(
            f"{found['low']:,}-{found['high'] - 1:,}", f"{found['documents']:,}", f"{found['tokens']:,}",
            f"{found['tokens'] / total:.1%}", Bar(most, 0, found["tokens"], width=WIDTH, color=style),
        )  # fmt: skip
    console.print(table)
    console.print(
        f"{long['share']:.1%} of the tokens are in documents of at least {long['length']:,} tokens ({long['documents']:,} of "
        f"them): rows of one document, {long['rows']:,}."
    )
    if not long["documents"]:
        console.print("[yellow]note[/] no document is as long as the target: give longer ones, or train on shorter rows.")
    _print_passed(console, data)


def _print_passed(console: Console, data: dict[str, Any]) -> None:
    passed, spelt = data["passed_over"], data["special_tokens_spelt_as_text"]
    if passed["count"]:
        reasons = "; ".join(f"{count:,} x {reason}" for reason, count in passed["reasons"].items())
        console.print(f"[yellow]note[/] passed over: {reasons}", style=None)
    for token, count in spelt.items():
        console.print(f"[yellow]note[/] {count:,} x {token!r} is spelt in the texts; it is kept as text, not made an id.")
    if data["max_tokens"] is not None and data["tokens"] >= data["max_tokens"]:
        console.print(f"[yellow]note[/] only the first {data['tokens']:,} tokens were read (--max-tokens).")
    if data["folder"]:
        console.print(f"tokenised data: {data['folder']}", markup=False)
