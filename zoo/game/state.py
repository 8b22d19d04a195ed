"""What a resumed run needs beside networks and optimizers, so that it goes on bit for bit: each rank's random states.

Plain data throughout: a checkpoint holds tensors, numbers, strings, lists and dicts only.
"""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist


def random_states(rng: torch.Generator, host_rng: torch.Generator) -> dict[str, Any]:
    """This process's random states: those of the libraries, and of its own streams, on its device and on the CPU."""
    return {
        "rng": rng.get_state(),
        "host": host_rng.get_state(),
        "python": random.getstate(),
        "numpy": [part.tolist() if isinstance(part, np.ndarray) else part for part in np.random.get_state()],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(rng.device) if rng.device.type == "cuda" else None,
    }


def restore_random_states(states: Mapping[str, Any], rng: torch.Generator, host_rng: torch.Generator) -> None:
    """Take up what `random_states` gave; on another kind of device its stream begins anew, as no state fits both."""
    for stream, state in ((host_rng, states.get("host", states["rng"])), (rng, states["rng"])):
        if len(state) == len(stream.get_state()):
            stream.set_state(state)
    random.setstate(states["python"])
    np.random.set_state(tuple(states["numpy"]))
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None and rng.device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], rng.device)


def of_every_rank(value: Any, world_size: int) -> list[Any]:
    """What each rank holds, in order: every rank calls it."""
    values = [value] * world_size
    if world_size > 1:
        dist.all_gather_object(values, value)
    return values


def of_this_rank(ranks: list[Any], rank: int, world_size: int) -> Any:
    """This rank's part of what `of_every_rank` gathered; None, which is said, where fewer or more processes go on."""
    if len(ranks) == world_size:
        return ranks[rank]
    if rank == 0:
        print(
            f"resuming a run of {len(ranks)} processes on {world_size}: networks, optimizers, time and data go on; "
            "latents come from new streams, and what each process keeps for itself (a history of images) begins anew, "
            "so the run is not bit for bit the one that was interrupted",
            flush=True,
        )
    return None
