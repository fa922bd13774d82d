import pytest
import torch

from survey_tools.errors import RunError
from translator import device
from translator.device import choose_device


def test_auto_is_a_gpu_where_there_is_one():
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(RunError, match=f"no device '{name}' here; give auto, cpu or"):
        choose_device(name)


def test_every_function_is_first_called_on_one_number(monkeypatch):
    """Never by several threads at once: one of them could get a square root that is wrong by 1e-4."""
    called = []
    spies = [lambda numbers, f=f: called.append((f, numbers.dtype, numbers.numel())) for f in device.FIRST_CALLS]
    monkeypatch.setattr(device, "FIRST_CALLS", spies)
    choose_device("cpu")
    assert {(dtype, count) for _, dtype, count in called} == {(torch.float32, 1), (torch.float64, 1)}
    assert torch.sqrt in {function for function, *_ in called}
