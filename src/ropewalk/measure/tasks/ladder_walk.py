"""Following one-way roads, and writing every step."""

from itertools import pairwise

from ropewalk.measure.ladder import NAMES, Hidden, Scene, ladder

ROAD = "\n# From {a} the road goes on to {b}."
QUESTION = "\n# Which way does the road from {a} go, stop by stop, to {b}?"
MOST = len(NAMES) // 2 - 1


@ladder(
    "walk", rungs=(1, 2, 3, 4, 6, 8), most=MOST,
    source="path traversal of LongProc (Ye et al. 2025, arXiv:2501.05414): rule-made, here with one sentence a road",
)  # fmt: skip
def walk(scene: Scene, rung: int) -> Hidden:
    """A walk of so many one-way roads, told one by one and in no order; every road of it is to be written.

    A second walk as long is told too, asked for and written down before the question, so that the form is known.
    """
    names = scene.rng.sample(NAMES, len(NAMES))
    stops, others = names[: rung + 1], names[MOST + 1 : MOST + rung + 2]
    roads = [[ROAD.format(a=a, b=b) for a, b in pairwise(way)] for way in (stops, others)]
    begin = ROAD.partition(" {b}")[0].format(a=stops[0])
    asked = [QUESTION.format(a=way[0], b=way[-1]) for way in (others, stops)]
    question = asked[0] + "".join(roads[1]) + asked[1]
    return Hidden(roads[0][0], question, begin, "".join(roads[0])[len(begin) :], roads[0][1:] + roads[1])
