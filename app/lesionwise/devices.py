"""Threads and devices: how much of the machine to use, and whether a GPU really works."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch

from lesionwise.control_groups import own_groups
from lesionwise.errors import DeviceError


def use_threads(asked: int) -> int:
    """Limit every library that computes to so many threads and return the number.

    0 means all that the process may use: the CPUs of its affinity, at most the quota of its control groups.
    Numba's own pool is left alone: nothing uses it, and starting it would reset torch's number of threads.
    """
    import SimpleITK as sitk  # noqa: N813 - the package's usual name
    from threadpoolctl import threadpool_limits

    threads = asked or available_cpus()
    torch.set_num_threads(threads)
    with contextlib.suppress(RuntimeError):  # may be set only once in a process
        torch.set_num_interop_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    threadpool_limits(threads)
    return threads


def available_cpus() -> int:
    """Return how many CPUs the process may keep busy, at least 1."""
    quota = min(_quotas(own_groups("cpu")), default=float("inf"))
    return max(1, int(min(len(os.sched_getaffinity(0)), quota)))


def choose_device(asked: str, note: Callable[[str], None]) -> torch.device:
    """Return the device to compute on: "cpu", "cuda", or with "auto" a GPU that works, else the CPU.

    A GPU counts only after a convolution on it gave the CPU's result. `note` gets a line where "auto"
    falls back. Raises `DeviceError` where "cuda" was asked for and does not work.
    """
    if asked == "cpu":
        return torch.device("cpu")
    trouble = _gpu_trouble()
    if trouble is None:
        return torch.device("cuda")
    if asked == "cuda":
        raise DeviceError(f"the GPU cannot be used ({trouble}); run with --device cpu, or mend the driver")
    note(f"computing on the CPU: {trouble}")
    return torch.device("cpu")


def choose_precision(asked: str, device: torch.device) -> torch.dtype:
    """Return the number type of the convolutions.

    "auto" is bfloat16 where the hardware multiplies it natively (AMX or AVX512_BF16; GPUs from compute
    capability 8), else float32: an emulated bfloat16 is slower than float32.
    """
    if asked != "auto":
        return {"fp32": torch.float32, "bf16": torch.bfloat16}[asked]
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device)[0] >= 8
    else:
        capabilities = torch.cpu.get_capabilities()
        native = bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    return torch.bfloat16 if native else torch.float32


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Return the context in which convolutions compute in `precision`; parameters and normalisations stay float32."""
    return torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32)


def describe(device: torch.device, precision: torch.dtype, threads: int) -> str:
    """Return a line that says on what the network runs."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {threads} thread(s)"
    return f"{name}, {str(precision).removeprefix('torch.')}"


def _gpu_trouble() -> str | None:
    """Return why the GPU cannot be used, or None where a convolution on it gave the CPU's result."""
    try:
        if not torch.cuda.is_available():
            return "no GPU was found"
        image = torch.arange(512, dtype=torch.float32).reshape(1, 1, 8, 8, 8) / 512
        kernel = torch.ones(1, 1, 3, 3, 3)
        expected = torch.nn.functional.conv3d(image, kernel, padding=1)
        computed = torch.nn.functional.conv3d(image.cuda(), kernel.cuda(), padding=1).cpu()
        # TF32 rounds to 10 bits of mantissa; 27 such terms of at most 1 stay well within this.
        if not torch.allclose(computed, expected, atol=0.05):
            return "the GPU computes wrong numbers"
    except Exception as error:  # CUDA reports driver, architecture and memory trouble by many types
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        return f"the GPU does not work: {first_line}"
    return None


def _quotas(groups: Iterable[Path]) -> Iterator[float]:
    """Yield the quotas, in CPUs, of control groups that have one (versions 2 and 1)."""
    for folder in groups:
        yield from (quota for quota in (_quota_v2(folder), _quota_v1(folder)) if quota is not None)


def _quota_v2(folder: Path) -> float | None:
    """Read `cpu.max`: "max 100000" or "150000 100000" (quota and period in microseconds)."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(folder: Path) -> float | None:
    """Read `cpu.cfs_quota_us` (-1 for none) and `cpu.cfs_period_us`."""
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return None if quota < 0 else quota / int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError, ZeroDivisionError):
        return None
