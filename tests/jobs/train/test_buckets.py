"""Loss by context length, against a loop over tokens."""

from collections import defaultdict

import pytest
import torch

from ropewalk.jobs.train.data.layout import IGNORED
from ropewalk.jobs.train.loop import means, sums
from ropewalk.measure.tables import edges_of


@pytest.mark.parametrize(
    ("original", "target", "edges"),
    [(256, 2048, (0, 128, 256, 512, 1024, 2048)), (256, 1000, (0, 128, 256, 512, 1000)), (256, 256, (0, 128, 256)),
     (256, 100, (0, 128, 256))],
)  # fmt: skip
def test_edges_double_from_half_the_window(original, target, edges):
    assert edges_of(original, target) == edges


def test_every_label_is_counted_in_its_bucket():
    torch.manual_seed(0)
    edges, losses = (0, 4, 8, 20), torch.rand(3, 20)
    positions, labels = torch.randint(0, 20, (3, 20)), torch.randint(0, 9, (3, 20))
    labels[torch.rand(3, 20) < 0.3] = IGNORED
    positions[0, :4], labels[0, :4] = torch.tensor([3, 4, 7, 8]), 1  # on both sides of both edges
    expected = defaultdict(list)
    for loss, position, label in zip(
        losses.flatten().tolist(), positions.flatten().tolist(), labels.flatten().tolist(), strict=True
    ):
        if label != IGNORED:
            expected["0-4" if position < 4 else "4-8" if position < 8 else "8-20"].append(loss)
    found = sums(losses, labels, positions, edges)
    assert found[:, 1].tolist() == [len(expected[name]) for name in ("0-4", "4-8", "8-20")]
    assert means(found, edges) == pytest.approx(
        {name: sum(values) / len(values) for name, values in expected.items()}, rel=1e-6
    )


def test_a_bucket_that_was_not_met_is_left_out():
    found = sums(torch.ones(1, 2), torch.tensor([[1, IGNORED]]), torch.tensor([[5, 1]]), (0, 4, 8))
    assert means(found, (0, 4, 8)) == {"4-8": 1.0}
    assert means(torch.tensor([[float("nan"), 2.0], [3.0, 2.0]]), (0, 4, 8)) == {"4-8": 1.5}
