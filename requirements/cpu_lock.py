"""Turn gpu.lock (standard input) into cpu.lock (standard output): the same versions, no CUDA packages."""

import re
import sys

# torch's CPU build for Linux x86_64 calls itself 2.13.0+cpu. PyTorch's own CPU index has it and PyPI has not,
# so its hash is not among those that uv finds. For another torch name both here: the index states the hash.
CPU_WHEEL = "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"
CPU_WHEEL_SHA256 = "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"
TORCH = CPU_WHEEL.split("-")[1].removesuffix("+cpu")
CUDA_ONLY = re.compile(r"(cuda-|nvidia-|triton)")

NOTE = f"""\
# Written by requirements/lock.sh from gpu.lock: the same versions without the CUDA packages.
# torch has two entries, because the hash of its CPU build differs from the index's. On Linux x86_64 PyPI's
# torch is the CUDA build, which needs gpu.lock; the CPU build, {CPU_WHEEL},
# comes from PyTorch's own CPU index or from a folder of wheels. Elsewhere PyPI's is the right one.
"""
# Were both hashes in one entry, pip would prefer the index's file to one in a folder.
X86_LINUX = 'sys_platform == "linux" and platform_machine == "x86_64"'
ELSEWHERE = 'sys_platform != "linux" or platform_machine != "x86_64"'


def cpu_lock(gpu_lock: str) -> str:
    """Return the text of cpu.lock. A requirement is an unindented line and the indented ones after it."""
    body = re.sub(r"\A(#.*\n)+", "", gpu_lock)
    requirements = re.findall(r"^[a-z].*\n(?:[ ].*\n)*", body, flags=re.MULTILINE)
    kept = [text for text in requirements if not CUDA_ONLY.match(text)]
    if not any(text.startswith(f"torch=={TORCH} ") for text in kept):
        raise SystemExit(
            f"cpu_lock.py: the torch of gpu.lock is not {TORCH}; name its CPU wheel and that file's sha256 at the top of"
            " this file"
        )
    for index, text in enumerate(kept):
        if text.startswith("torch=="):
            pin, index_hashes = text.split(" \\\n", 1)
            cpu_hash = f"    --hash=sha256:{CPU_WHEEL_SHA256}\n"
            kept[index] = f"{pin} ; {X86_LINUX} \\\n{cpu_hash}{pin} ; {ELSEWHERE} \\\n{index_hashes}"
    return NOTE + "".join(kept)


if __name__ == "__main__":
    sys.stdout.write(cpu_lock(sys.stdin.read()))
