"""Write the RoPE Explorer, one HTML page to play with: what each method does to the pairs of a model. Needs no torch.

Example: `ropewalk explore ropewalk-tiny -o explorer.html`
"""

from ropewalk.api.explore import Explorer, explore
from ropewalk.cli.parts.console import Console
from ropewalk.cli.parts.flags import verb


def _print(console: Console, page: Explorer) -> None:
    for warning in page.notes:
        print(f"note: {warning}")
    print(f"{page.out}: {page.size / 1024:.0f} KiB, open it in a browser; it needs no network")


run = verb(explore, _print, after=2.0)
