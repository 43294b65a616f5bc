"""What the RULER golden hashes were made from: invented prose and question sets, the same on every machine.

Everything comes from `random.Random` and the word list below. The reference generator read the same files when the
hashes were made (see jobs/evaluate/tasks/goldens/README.md).
"""

import json
import random
import re
from pathlib import Path

WORDS = (
    "rope hemp yarn strand tar walk mast sail harbour tide knot splice block cleat deck anchor chain river market winter "
    "letter window garden stone bridge paper candle silver basket corner morning evening the a of to and in on under with "
    "was had made kept found turned carried measured twisted stretched slowly quietly again never often twenty seven"
).split()


def sentence(rng: random.Random) -> str:
    words = [rng.choice(WORDS) for _ in range(rng.randrange(5, 18))]
    if rng.random() < 0.3:
        words.insert(len(words) // 2, rng.choice(["-", "(so)", "it's", "1,204", "3.5"]))
    return " ".join(words).capitalize() + rng.choice([".", ".", ".", "?", "!"])


def prose(sentences: int = 900, seed: int = 0) -> str:
    """Sentences, with line breaks and double spaces here and there."""
    rng = random.Random(seed)
    return "".join(sentence(rng) + rng.choice([" ", " ", " ", "\n", "  ", "\n\n"]) for _ in range(sentences)).strip()


def split(text: str) -> list[str]:
    """Sentences, in place of nltk's punkt, whose data cannot be assumed to be there. Both sides got this one."""
    return re.split(r"(?<=[.?!])\s+", text)


def _paragraph(rng: random.Random, sentences: int) -> str:
    return " ".join(sentence(rng) for _ in range(sentences))


def squad(seed: int = 1, articles: int = 12, paragraphs: int = 10) -> dict:
    rng = random.Random(seed)
    data = []
    for a in range(articles):
        rows = []
        for p in range(paragraphs):
            text = _paragraph(rng, 4)
            answers = [{"text": " ".join(text.split()[i : i + 2]), "answer_start": 0} for i in (1, 3)]
            question = {"question": f"what is in {a} and {p}?", "id": f"{a}/{p}", "answers": answers}
            empty = {"question": "what is not there?", "id": f"{a}/{p}/no", "answers": [], "is_impossible": True}
            rows.append({"context": text, "qas": [{**question, "is_impossible": False}, empty]})
        data.append({"title": f"article {a}", "paragraphs": rows})
    return {"version": "v2.0", "data": data}


def hotpot(seed: int = 2, questions: int = 40, documents: int = 10) -> list:
    rng = random.Random(seed)
    rows = []
    for q in range(questions):
        context = [[f"Title {q} {d}", [sentence(rng) + " " for _ in range(3)]] for d in range(documents)]
        rows.append({"_id": str(q), "question": f"which is number {q}?", "answer": f"title {q}", "context": context})
    return rows


def write_question_sets(folder: Path) -> tuple[Path, Path]:
    paths = folder / "squad.json", folder / "hotpotqa.json"
    for path, data in zip(paths, (squad(), hotpot()), strict=True):
        path.write_text(json.dumps(data), encoding="utf-8")
    return paths
