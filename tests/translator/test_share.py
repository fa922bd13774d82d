import torch

from translator.images import WHOLE, Share


def test_shares_are_the_whole_in_order():
    whole = torch.arange(12).reshape(6, 2)
    assert torch.equal(torch.cat([Share(rank, 3).of(whole) for rank in range(3)]), whole)
    assert WHOLE.of(whole) is whole


def test_a_number_or_nothing_is_everybodys():
    assert Share(1, 2).of(None) is None
    assert float(Share(1, 2).of(torch.tensor(0.0))) == 0
