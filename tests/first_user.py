"""A first-time user after `pip install '.[torch]'`: `ropewalk generate --dynamic yarn` beyond the window: is it right?

    python tests/first_user.py       in an environment that has Ropewalk installed and nothing else of this repository

The bundled model reads 700 tokens of the standard library (window 512) and goes on for 40. The right text is written anew here
without a cache: every token from one pass over everything before it. Prints one line; exit 1 where the texts differ.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

NEW, READ = 40, 700


def written(prompt: Path) -> list[int]:
    """The tokens that the command wrote."""
    from transformers import AutoTokenizer

    command = ["ropewalk", "generate", "ropewalk-tiny", "--dynamic", "yarn", "--prompt-file", str(prompt), "--json"]
    ran = subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:], "--max-new-tokens", str(NEW)],
        capture_output=True, text=True, cwd=prompt.parent,
    )  # fmt: skip
    if ran.returncode:
        raise SystemExit(f"ropewalk generate ended with {ran.returncode}:\n{ran.stderr}")
    tokenizer = AutoTokenizer.from_pretrained(bundled())
    return tokenizer(json.loads(ran.stdout)["text"], add_special_tokens=False).input_ids


def bundled() -> Path:
    import ropewalk

    return Path(ropewalk.__file__).parent / "models" / "ropewalk-tiny"


def expected(text: str) -> tuple[list[int], int]:
    """The most probable continuation, without a cache, and how many tokens the prompt has."""
    import torch
    from transformers import AutoTokenizer

    import ropewalk

    model, tokenizer = ropewalk.load_model("ropewalk-tiny"), AutoTokenizer.from_pretrained(bundled())
    plan = ropewalk.make_plan(ropewalk.read(model.config.to_dict()), factor=8, method="dynamic-yarn")
    ids = tokenizer(text, return_tensors="pt").input_ids
    prompt = ids.shape[1]
    with torch.inference_mode(), ropewalk.attach(model, plan):
        for _ in range(NEW):
            ids = torch.cat([ids, model(ids, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    return tokenizer(tokenizer.decode(ids[0, prompt:]), add_special_tokens=False).input_ids, prompt


def main() -> int:
    import torch
    import transformers

    with tempfile.TemporaryDirectory() as made:
        prompt = Path(made) / "prompt.txt"
        # `json` changes little between versions of Python; the text only has to be the same for both sides.
        prompt.write_text(Path(json.__file__).with_name("decoder.py").read_text()[: READ * 3])
        got = written(prompt)
        wanted, length = expected(prompt.read_text())
    right = got == wanted and length > 512
    print(
        f"first user: transformers {transformers.__version__}, torch {torch.__version__}: {length} tokens read, {len(got)} "
        f"written, {'as' if right else 'NOT as'} without a cache"
    )
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
