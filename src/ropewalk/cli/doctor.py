"""Does every engine do what is written? Reads a folder, a config.json, a GGUF or a pasted command line, and says what each
engine makes of it, in words and numbers; or asks a running server; or compares a trainer with its rollout. Exit code 0: all as
written, PASS or ALIKE. 1: findings, FAIL or DIFFER. 2: bad input. 3: a server's answers do not decide.

Engines: deepseek, gpt_oss, llama_cpp, megatron, mistral, mlx_lm, ollama, sglang, tensorrt_llm, transformers, vllm.

Example: `ropewalk doctor ropewalk-tiny --for transformers,vllm,mlx`
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ropewalk.api.doctor import doctor, is_address
from ropewalk.cli.parts.console import Console
from ropewalk.cli.parts.flags import LATER, verb
from ropewalk.jobs.doctor.diagnosis import Diagnosis, Engines, StackPair
from ropewalk.jobs.doctor.static import EngineDiagnosis

if TYPE_CHECKING:
    from ropewalk.jobs.doctor.live.job import LiveDiagnosis
    from ropewalk.jobs.doctor.stacks.job import StackDiagnosis

WIDTH = 30  # characters of the longest bar


def _silence(given: Mapping[str, Any]) -> float:
    """Seconds, below which nothing is said of what is done: what is only read is read at once."""
    asks = any(is_address(given.get(name, "")) for name in ("target", "trainer", "rollout"))
    return 0.0 if asks or given.get("numeric") else LATER


def _print(console: Console, found: Diagnosis) -> int:
    wide, detail = Console(highlight=False, soft_wrap=True), found.detail
    if isinstance(detail, Engines):
        _print_engines(wide, found.title, detail)
    elif isinstance(detail, StackPair):
        for sentence in filter(None, (*detail.sentences, detail.trainer.unseen, detail.rollout.unseen)):
            print(sentence)
        for loss in (*detail.trainer.losses, *detail.rollout.losses):
            print(f"  {loss.said}")
    elif isinstance(detail, tuple):
        for table in detail:
            print(f"{'ok   ' if table.right else 'finds'} {table.said}")
    else:
        (_print_stacks if hasattr(detail, "bands") else _print_live)(wide, detail)
    if found.plot:
        wide.print(f"plot: {found.plot}", markup=False)
    return found.exit_code


def _print_engines(console: Console, title: str, detail: Engines) -> None:
    console.print(f"[bold]{title}[/]", markup=True)
    for words in detail.written:
        console.print(f"  written: {words}", markup=False)
    for one in detail.found:
        _print_engine(console, one)


def _print_engine(console: Console, one: EngineDiagnosis) -> None:
    if one.unseen:
        console.print(f"note  {one.unseen}", markup=False)
    if not one.losses:
        console.print(f"[green]ok[/]    {one.name}: as written")
        return
    for loss in one.losses:
        console.print("[red]finds[/] ", end="")
        console.print(loss.said, markup=False)
        if loss.way_out:
            console.print(f"        {loss.way_out}", markup=False)
        console.print(f"        {loss.source}", style="dim", markup=False)


def _print_live(console: Console, result: "LiveDiagnosis") -> None:
    claims = f"claims {result.claimed:,} tokens" if result.claimed else "claims no length"
    lines = [f"{result.url}: {result.model}, {claims}, original window {result.original:,}"]
    if result.loss:
        lines.append(f"loss of {result.loss[0].passages} fixed passages, nats per token ({result.how})")
        top = max(step.loss.value for step in result.loss)
        for step in result.loss:
            gap = step.difference
            told = f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})  {step.verdict}" if gap else "inside"
            lines.append(f"{step.length:>10,}  {step.loss.value:6.3f}  {_bar(step.loss.value / top)}  {told}")
    lines.append("pass keys found")
    for key in result.keys:
        span = f"({100 * key.share.low:.0f} to {100 * key.share.high:.0f} %)"
        told = key.verdict or "inside"
        lines.append(f"{key.length:>10,}  {key.found:>3}/{key.trials:<3} {_bar(key.share.value)}  {span}  {told}")
    lines += [f"note: {words}" for words in result.notes] + [f"finds {words}" for words in result.findings]
    for line in [*lines, f"{result.verdict}: {result.words}"]:
        console.print(line, markup=False)


def _bar(share: float) -> str:
    return ("█" * round(WIDTH * share)).ljust(WIDTH)


def _print_stacks(console: Console, result: "StackDiagnosis") -> None:
    from ropewalk.jobs.doctor.stacks.open import span

    lines = [
        f"trainer: {result.trainer} ({result.how[0]})",
        f"rollout: {result.rollout} ({result.how[1]})",
        f"original window {result.original:,}; nats per token, rollout minus trainer, 95 % intervals",
        f"{'':>10}  {'mean':^28}  {'mean |difference|':^25}  {'largest':>7}  {'k3':^28}",
    ]
    for band in result.bands:
        lines.append(
            f"{band.length:>10,}  {span(band.mean, '+.4f')}  {span(band.apart, '.4f')}  {band.largest:7.3f}  "
            f"{span(band.kl, '.1e')}  {'' if band.beyond else 'inside, '}{band.verdict}"
        )
    lines += [f"finds {words}" for words in result.findings]
    for line in [*lines, f"{result.verdict}: {result.words}"]:
        console.print(line, markup=False)


run = verb(doctor, _print, after=_silence)
