"""What this machine has for a process: of a container, its share."""

import math
import os
from pathlib import Path
from typing import Any


def cpus() -> int:
    """The CPUs that this process may use: a container's share, not the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> float:
    """Bytes of this machine's memory, or of the part of it that its container has; infinity where that is not known."""
    try:
        whole = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not on Windows
        return math.inf
    limits = [Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory/memory.limit_in_bytes")]
    texts = [file.read_text() for file in limits if file.is_file()]
    return min([whole, *(float(text) for text in texts if text[:1].isdigit())])


def check_device(device: Any) -> None:
    """Raise a ValueError for what is no device of this machine."""
    import torch  # late: it takes seconds

    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise ValueError(f"device={device} is no device: use cpu, cuda, cuda:1 or mps") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={device}: there is no CUDA device here; use cpu")
