"""What this machine's processor computes by instructions of its own."""

from __future__ import annotations

import functools
import pathlib
import re

_TOLD = pathlib.Path("/proc/cpuinfo")


@functools.cache
def emulates_bfloat16() -> bool:
    """Whether convolutions in bfloat16 are emulated here, tens of times slower than in float32.

    oneDNN has kernels for them from AVX-512 on. False where nothing tells what the processor has.
    """
    told = _TOLD.read_text(encoding="utf-8") if _TOLD.exists() else ""
    flags = re.search(r"^flags\s*:(.*)$", told, re.MULTILINE)
    return flags is not None and "avx512f" not in flags[1].split()
