"""Devices and dtypes from what a person typed."""

import pytest
import torch

from ropewalk.errors import BadOption
from ropewalk.models.placement import find_device, find_dtype, own_device


@pytest.mark.parametrize(("cuda", "mps", "device"), [(True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_auto_takes_an_accelerator_where_there_is_one(monkeypatch, cuda, mps, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert find_device("auto") == device


def test_a_device_that_is_not_there_is_said():
    assert find_device("cpu") == "cpu"
    for device in ("toaster", "cuda:99"):
        with pytest.raises(BadOption, match=f"device is '{device}', which cannot be used here"):
            find_device(device)


def test_each_process_of_a_machine_takes_its_own_device(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert own_device("cuda") == "cuda:3"
    assert own_device("cuda:1") == "cuda:1"
    assert own_device("cpu") == "cpu"


def test_dtypes():
    assert find_dtype("auto", "cpu") == "float32"
    assert find_dtype("auto", "cuda") == "bfloat16"
    assert find_dtype("float16", "cpu") == "float16"
    with pytest.raises(BadOption, match="dtype is 'int8'; it must be one of float32"):
        find_dtype("int8", "cpu")
