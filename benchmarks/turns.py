"""Training loops in turn, in one process: what the benchmarks of this folder share.

A machine that other programs use is slow for a while and fast for a while. So what is compared takes turns: in each
round every loop runs a segment of steps, the one that begins changes from round to round, and ratios are taken within a
round; what is told is their median, and in brackets the lowest and the highest.

    theirs = Loop(lambda loop: train(loop.batches(make_batch)))           # whatever asks for one batch a step
    arms = {"zoo": fitting(model, batch), "theirs": theirs, "plain": stepping(one_step)}
    seconds = take_turns(arms, rounds=5, steps=10, now=clock("wall"))
    print(spread(ratios(seconds, "plain", "zoo")))                        # above 1: zoo is faster
    print(parts(theirs, steps=2))                                         # convolution 71 % of a step; of the rest ...

`Loop` lets a whole training loop be an arm, also one that is not written for that: it has a thread of its own, which
stands still between two steps of it, so that never more than one arm runs. Loops that ask for data are held there.
"""

import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol, Self

import lightning as L
import torch
from torch.profiler import ProfilerActivity, profile

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler tells stderr that it begins and ends

Ratios = list[float]
NOTHING: AbstractContextManager[Any] = nullcontext()


class Arm(Protocol):
    """Makes so many steps; `within` is entered around them, in the thread that makes them."""

    def __call__(self, steps: int, within: AbstractContextManager[Any] = ..., /) -> None: ...


def stepping(step: Callable[[], Any]) -> Arm:
    """An arm of a function that makes one step."""

    def arm(steps: int, within: AbstractContextManager[Any] = NOTHING, /) -> None:
        with within:
            for _ in range(steps):
                step()

    return arm


class Over(BaseException):
    """Unwinds a loop that asks for more after it was closed; no `except Exception` of it holds this up."""


class Ended(RuntimeError):
    """A loop has come to its end by itself."""


class Loop:
    """A training loop in a thread of its own, which makes as many steps as are asked for, and then stands still.

    Args:
        run: the loop. It gets this, and has to come by `pause` before its first step and after each one: `batches` does
            that where it asks for one batch a step.

    The constructor gives back when the loop has come to its first pause. What the loop raises, is raised here.
    """

    def __init__(self, run: Callable[["Loop"], Any]) -> None:
        self.steps = 0  # so far
        self._left, self._closed, self._within = 0, False, NOTHING
        self._go, self._stands = threading.Semaphore(0), threading.Semaphore(0)
        self._ended: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(run, torch.get_num_threads()), daemon=True)
        self._thread.start()
        self._wait()

    def _run(self, run: Callable[["Loop"], Any], threads: int) -> None:
        try:
            torch.set_num_threads(threads)
            run(self)
            self._ended = Ended(f"the loop ended by itself, after {self.steps} steps")
        except BaseException as error:  # raised again where steps are asked for
            self._ended = error
        self._stands.release()

    def _wait(self) -> None:
        self._stands.acquire()
        if self._ended is not None and not self._closed:
            raise self._ended

    def __call__(self, steps: int, within: AbstractContextManager[Any] = NOTHING, /) -> None:
        self._left, self._within = steps, within
        self._go.release()
        self._wait()

    def pause(self) -> None:
        """Stand still, unless steps are left; in the loop's thread."""
        if self._closed:
            return
        if not self._left:
            if self.steps:
                self._within.__exit__(None, None, None)
            self._stands.release()
            self._go.acquire()
            if self._closed:
                return
            self._within.__enter__()
        self._left -= 1
        self.steps += 1

    def batches(self, batch: Callable[[], Any], *, length: int = 1_000_000) -> "Batches":
        """What a loop takes for its data: a new `batch()` each time."""
        return Batches(self, batch, length)

    def close(self) -> None:
        """Let the loop go on to its end: no pause holds it any more, and its batches end."""
        self._closed = True
        self._go.release()
        self._thread.join()
        if self._ended is not None and not isinstance(self._ended, (Over, Ended)):
            raise self._ended

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            self.close()


class Batches:
    """Data that a loop pauses for; they end when the loop is closed, and who begins anew then is stopped."""

    def __init__(self, loop: Loop, batch: Callable[[], Any], length: int) -> None:
        self.loop, self.batch, self.length, self.ended = loop, batch, length, False

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        if self.ended:
            raise Over
        return self

    def __next__(self) -> Any:
        self.loop.pause()
        if self.loop._closed:
            self.ended = True
            raise StopIteration
        return self.batch()


def fitting(model: L.LightningModule, batch: Any, *, device: str = "cpu", precision: str = "fp32") -> Loop:
    """A model of zoo, or any other of Lightning, in a trainer, always on the same batch; it stands before its first
    step. The trainer has no logger, no checkpoints and nothing that it draws."""
    off: Any = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    trainer = L.Trainer(
        accelerator=device, devices=1, max_epochs=1, precision="bf16-mixed" if precision == "bf16" else "32-true", **off
    )
    return Loop(lambda loop: trainer.fit(model, loop.batches(lambda: batch)))  # type: ignore[arg-type]


# Timing -------------------------------------------------------------------------------------------------------------


def clock(time_of: Literal["cpu", "wall"], device: str = "cpu") -> Callable[[], float]:
    """Seconds: of the processor, all threads of this process together, which other programs disturb little; or of the
    wall, with what a GPU has been given done."""

    def now() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.process_time() if time_of == "cpu" else time.perf_counter()

    return now


def take_turns(
    arms: Mapping[str, Arm], *, rounds: int, steps: int, now: Callable[[], float], warmup: int = 0
) -> dict[str, list[float]]:
    """Seconds of a step of each arm in each round; the order is rotated by one from round to round."""
    names, seconds = list(arms), {name: list[float]() for name in arms}
    for name in names if warmup else []:
        arms[name](warmup)
    for r in range(rounds):
        k = r % len(names)
        for name in names[k:] + names[:k]:
            start = now()
            arms[name](steps)
            seconds[name].append((now() - start) / steps)
    return seconds


def ratios(seconds: Mapping[str, list[float]], over: str, under: str) -> Ratios:
    """Of each round, one arm's seconds over another's."""
    return [a / b for a, b in zip(seconds[over], seconds[under], strict=True)]


def spread(values: Ratios, form: str = ".2f") -> str:
    """Median [lowest, highest]."""
    return f"{statistics.median(values):{form}} [{min(values):{form}}, {max(values):{form}}]"


# What a step is made of ---------------------------------------------------------------------------------------------


class _Watched:
    """A profile of what is run within, and how long that took."""

    def __init__(self, device: str) -> None:
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
        with profile(activities=activities):  # it complains where its first use is in another thread
            pass
        self.profile, self.now = profile(activities=activities), clock("wall", device)

    def __enter__(self) -> None:
        self.profile.__enter__()
        self.start = self.now()

    def __exit__(self, *error: Any) -> None:
        self.seconds = self.now() - self.start
        self.profile.__exit__(*error)


def shares(arm: Arm, *, steps: int, device: str = "cpu") -> dict[str, float]:
    """What part of a step each operator has of its own, from the largest on: all convolutions, forward and backward, as
    "convolution", and what is in no operator as "Python". Of some steps under the profiler, which makes Python's part
    a little larger."""
    watched = _Watched(device)
    arm(steps, watched)
    own: Counter[str] = Counter()
    for event in watched.profile.key_averages():
        microseconds = event.self_device_time_total if device == "cuda" else event.self_cpu_time_total
        name = event.key.removeprefix("aten::")
        own["convolution" if "conv" in name.lower() else name] += microseconds / 1e6 / watched.seconds
    own["Python"] = max(1 - sum(own.values()), 0.0)
    return dict(own.most_common())


def parts(arm: Arm, *, steps: int, device: str = "cpu", most: int = 4) -> str:
    """A line: convolution, which is the library's alone, and the largest others."""
    found = shares(arm, steps=steps, device=device)
    convolution = found.pop("convolution", 0.0)
    rest = ", ".join(f"{name} {share:.0%}" for name, share in list(found.items())[:most])
    return f"convolution {convolution:.0%} of a step; of the rest {rest}"
