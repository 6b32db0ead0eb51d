"""Threads by affinity and quota, devices by what they really compute."""

import os

import pytest
import torch
from made_groups import made_groups

from lesionwise import devices
from lesionwise.control_groups import own_groups
from lesionwise.devices import available_cpus, choose_device, choose_precision, use_threads
from lesionwise.errors import DeviceError


def quotas_of(tmp_path, membership, files):
    return list(devices._quotas(own_groups("cpu", *made_groups(tmp_path, membership, files))))


@pytest.mark.parametrize(
    ("membership", "files", "quotas"),
    [
        ("0::/", {"cpu.max": "150000 100000\n"}, [1.5]),
        ("0::/", {"cpu.max": "max 100000\n"}, []),
        ("0::/a/b", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "200000 100000"}, [4, 2]),
        ("0::/on/the/host", {"cpu.max": "300000 100000"}, [3]),
        ("4:cpu,x:/a", {"cpu,x/a/cpu.cfs_quota_us": "50000", "cpu,x/a/cpu.cfs_period_us": "100000"}, [0.5]),
        ("4:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, []),
        ("5:memory:/", {"memory/cpu.max": "1 1"}, []),
        ("0::/", {"cpu.max": "garbage"}, []),
    ],
)  # fmt: skip
def test_quotas_of_both_versions_of_control_groups(tmp_path, membership, files, quotas):
    assert quotas_of(tmp_path, membership, files) == quotas


@pytest.mark.parametrize(("quotas", "cpus"), [([], 4), ([2.9], 2), ([0.5], 1), ([100], 4), ([3, 2], 2)])
def test_all_cpus_are_those_of_affinity_within_the_smallest_quota(monkeypatch, quotas, cpus):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(devices, "_quotas", lambda *_: iter(quotas))
    assert available_cpus() == cpus


def test_threads_reach_every_library():
    import SimpleITK as sitk  # noqa: N813
    from threadpoolctl import threadpool_info

    before = torch.get_num_threads()
    try:
        assert use_threads(1) == 1
        assert torch.get_num_threads() == 1
        assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == 1
        assert {pool["num_threads"] for pool in threadpool_info()} == {1}
        assert use_threads(0) == available_cpus()
    finally:
        use_threads(before)


def test_auto_takes_the_cpu_with_a_line_where_no_gpu_computes(monkeypatch):
    lines = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto", lines.append).type == "cpu"
    assert lines == ["computing on the CPU: no GPU was found"]
    assert choose_device("cpu", lines.append).type == "cpu"
    assert len(lines) == 1
    with pytest.raises(DeviceError, match="--device cpu"):
        choose_device("cuda", lines.append)


def test_a_gpu_that_is_there_but_runs_no_kernel_is_not_used(monkeypatch):
    def broken(self):
        raise RuntimeError("no kernel image is available for execution on the device\nmore")

    lines = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.Tensor, "cuda", broken)
    assert choose_device("auto", lines.append).type == "cpu"
    assert lines == ["computing on the CPU: the GPU does not work: no kernel image is available for execution on the device"]  # fmt: skip # noqa: E501


def test_a_gpu_that_computes_wrong_numbers_is_not_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.Tensor, "cuda", lambda self: self + 1)
    with pytest.raises(DeviceError, match="wrong numbers"):
        choose_device("cuda", print)


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"avx2": True}, torch.float32),
        ({"avx512_f": True, "avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
    ],
)
def test_bfloat16_only_where_the_cpu_is_made_for_it(monkeypatch, capabilities, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert choose_precision("auto", torch.device("cpu")) == precision
    assert choose_precision("fp32", torch.device("cpu")) == torch.float32
    assert choose_precision("bf16", torch.device("cpu")) == torch.bfloat16
