"""A pasted text as a shell would be given it."""

import json
import re
import shlex

# A quoted string or an escape, or a comment up to its line's end.
COMMENT = re.compile(r"""('[^']*'|"(?:\\.|[^"\\])*"|\\.)|(?:^|(?<=\s))#[^\n]*""", re.DOTALL | re.MULTILINE)
PROMPT = re.compile(r"\s*[$%>]\s+")
LISTED = re.compile(r"\s*(?:(?:command|entrypoint|args|CMD|ENTRYPOINT)\s*:?\s*)?(\[.*\])\s*,?\s*", re.DOTALL)


def as_typed(text: str) -> str:
    """No prompt before it, no comments, and the words of a list as compose files have it."""
    if found := LISTED.fullmatch(text):
        try:
            words = json.loads(found.group(1))
        except (ValueError, RecursionError):
            words = []
        if words and all(isinstance(word, str) for word in words):
            return shlex.join(words)
    if prompt := PROMPT.match(text):
        text = text[prompt.end() :]
    return COMMENT.sub(lambda found: found.group(1) or "", text)
