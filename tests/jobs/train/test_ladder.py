import pytest

from ropewalk.jobs.train.sizing.cost import STEP, ladder, longest_length
from ropewalk.jobs.train.sizing.memory import CARDS, GIB, Setup, States, peak
from support import shapes

H100 = CARDS["H100-80"]


def test_remedies_come_in_the_order_of_what_they_cost():
    added = [rung.added for rung in ladder(shapes.LLAMA, H100, 8, 131_072)]
    assert added == [
        "head's loss in chunks", "activation checkpointing", "context parallel 2", "context parallel 4", "context parallel 8",
        "checkpoints in host memory", "tiled MLP", "weights and optimizer on the host",
    ]  # fmt: skip
    assert [r.added for r in ladder(shapes.LLAMA, H100, 1, 4096) if "parallel" in r.added] == []
    assert [r.added for r in ladder(shapes.LLAMA, H100, 6, 4096) if "parallel" in r.added] == ["context parallel 2"]


def test_every_rung_keeps_what_came_before():
    last = ladder(shapes.LLAMA, H100, 4, 131_072, lora=True)[-1].setup
    assert last == Setup(
        cards=4, context_parallel=4, checkpointing=True, offload=True, tiled_mlp=True, states=States.HOST, lora=True
    )


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS.keys())
def test_the_longest_length_fits_and_the_next_does_not(card):
    for rung in ladder(shapes.LLAMA, card, 8, 131_072):
        room = card.gib * GIB
        assert rung.longest % STEP == 0
        assert rung.longest == 0 or peak(shapes.LLAMA, rung.setup, rung.longest).high <= room
        assert peak(shapes.LLAMA, rung.setup, rung.longest + STEP).high > room
        assert rung.fits(card) == (rung.longest >= 131_072)
        assert not (rung.fits(card) and rung.may_fit(card))


def test_a_card_in_the_band_is_a_maybe():
    adapters = ladder(shapes.LLAMA, H100, 8, 131_072, lora=True)[1]
    assert adapters.peak.low < H100.gib * GIB < adapters.peak.high
    assert adapters.may_fit(H100)


def test_no_room_is_no_length():
    assert longest_length(shapes.LLAMA, Setup(), 0) == 0
