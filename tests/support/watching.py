"""Progress that a test can look at."""

from ropewalk.checkpoints.runs import LOCK
from ropewalk.progress import Silent


class Watching(Silent):
    """Keeps the last stage with a total, what was done of it, and every note; looks into `folder` when that stage begins.

    stop_after: raises KeyboardInterrupt once so much is done.
    """

    def __init__(self, folder=None, stop_after=None):
        self.folder, self.stop_after, self.listed, self.notes, self.done, self.total = folder, stop_after, set(), [], 0.0, 0.0

    def begin(self, what, total=None, *, found=False):
        if total is not None:
            self.what, self.total, self.found, self.done = what, total, found, 0.0
            self.listed = {p.name for p in self.folder.iterdir() if p.name != LOCK} if self.folder else set()

    def advance(self, amount):
        self.done += amount
        if self.stop_after is not None and self.done > self.stop_after:
            raise KeyboardInterrupt

    def note(self, sentence):
        self.notes.append(sentence)


class Advances(Silent):
    """Keeps every amount in the list `told`."""

    def __init__(self, told=None):
        self.advance = ([] if told is None else told).append
