"""Signals that end a process: before and after the stretch in which a run can save, they unwind it with a sentence."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# What ends a process from outside: a scheduler, Ctrl-C, a terminal that closes, a batch system's warning.
NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2")
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))  # Windows has the first two
WARNINGS = SIGNALS[3:]  # of a batch system, some time before the end

Handler = Callable[[int, FrameType | None], Any]


class Left(SystemExit):
    """The process ends for a signal, with the status that shells have for it: 128 plus its number.

    `said` is what there is to say of it, after "interrupted".
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number, self.said = number, ""


@contextmanager
def handled(handler: Handler) -> Iterator[dict[int, Any]]:
    """Let `handler` have the signals that end a process; gives the handlers that were there before, which come back.

    SIGHUP stays ignored where it is (nohup). Only the main thread can have signals: elsewhere nothing changes.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        ignored = {number for number in SIGNALS if signal.getsignal(number) is signal.SIG_IGN}
        taken = [number for number in SIGNALS if number not in ignored or number in SIGNALS[:2]]
        before = {number: signal.signal(number, handler) for number in taken}
    try:
        yield before
    finally:
        for number, earlier in before.items():
            signal.signal(number, signal.SIG_DFL if earlier is None else earlier)  # None: not of Python


@contextmanager
def unwinding() -> Iterator[None]:
    """Let signals raise `Left`, so that nothing half-written stays; the same one again ends the process at once.

    Processes that are forked meanwhile leave Ctrl-C and a closed terminal, which reach them too, to their parent.
    """
    process = os.getpid()

    def leave(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            signal.signal(number, signal.SIG_DFL)
            _swallowed.append(left := Left(number))
            raise left
        if number == signal.SIGTERM:
            os._exit(128 + number)

    with handled(leave):
        try:
            yield
            check()
        except Exception:
            check()  # a module that was loaded by half, say, is no error of its own
            raise
        finally:
            _swallowed.clear()


_swallowed: list[Left] = []  # what has been raised, and not arrived, since it met a bare `except:` or a finaliser


def check() -> None:
    """Raise what a library has swallowed, while modules are loaded, say: call it where there is something to begin."""
    if _swallowed:
        raise _swallowed[0]


def foreign(handler: Any) -> bool:
    """Whether a handler is of somebody else: submitit's, say, which queues its job again."""
    return callable(handler) and handler is not signal.default_int_handler and handler.__module__ != __name__


def queued_again() -> bool:
    """Whether SLURM has taken this process's job to be run once more, if there is a job, and it may be."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return False
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    try:
        asked = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"SLURM job {job} was not queued again ({error})", flush=True)
        return False
    if asked.returncode:
        print(f"SLURM job {job} was not queued again ({asked.stderr.strip() or asked.returncode})", flush=True)
    return asked.returncode == 0
