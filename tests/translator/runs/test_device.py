from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from types import SimpleNamespace

import pytest
import torch

from survey_tools.errors import RunError
from translator.runs import device
from translator.runs.device import choose_device, one_thread


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


def test_threads_pass_the_networks_alone_and_all_is_as_before_after_it():
    before, cpu = torch.get_num_threads(), torch.device("cpu")
    torch.set_num_threads(2)
    inside = Barrier(2, timeout=20)

    def use(_):
        with one_thread(cpu):
            inside.wait()
            return torch.get_num_threads()

    try:
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(use, range(2))) == [1, 1]
        assert torch.get_num_threads() == 2
        with one_thread(torch.device("cuda")):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_float32_on_a_gpu_is_float32_and_other_precisions_end_with_their_context():
    choose_device("cpu")
    flags = torch.backends.cudnn, torch.backends.cuda.matmul
    for precision, expected in (("float32", False), ("tf32", True), ("bf16", True)):
        with device.computing(precision):
            assert [flag.allow_tf32 for flag in flags] == [expected, expected]
        assert [flag.allow_tf32 for flag in flags] == [False, False]


def test_layers_are_passed_in_bf16_where_that_is_asked_for():
    layer, image = torch.nn.Linear(2, 2), torch.ones(1, 2)
    for precision, expected in (("float32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)):
        with device.autocast(precision, image.device):
            assert layer(image).dtype == expected


def test_memory_can_be_kept_where_the_c_library_can_and_is_left_alone_where_it_cannot(monkeypatch):
    called = []
    library = SimpleNamespace(mallopt=lambda *words: called.append(words))
    monkeypatch.setattr(device.ctypes, "CDLL", lambda _: library)
    device.keep_memory()
    assert called == [(device.M_MMAP_MAX, 0), (device.M_TRIM_THRESHOLD, -1)]
    monkeypatch.setattr(device.ctypes, "CDLL", lambda _: SimpleNamespace())
    device.keep_memory()


def test_bfloat16_is_taken_where_it_is_faster_and_not_where_it_merely_is(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    for faster in (True, False):
        monkeypatch.setattr(device, "_is_bf16_faster", lambda faster=faster: faster)
        assert device.has_bf16(cpu) is faster
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert not device.has_bf16(cpu)
    assert not device.has_bf16(torch.device("meta"))


def test_the_time_of_a_convolution_decides(monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr(device.time, "perf_counter", lambda: next(ticks))
    assert not device._is_bf16_faster.__wrapped__()  # as long in either type
