"""What a run can't write does not end it: that is said once, and training goes on."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

log = logging.getLogger(__name__)
_failing: set[str] = set()  # what could not be written when it was last tried


class attempt(AbstractContextManager):
    """A block that writes something without which training goes on.

        with attempt(path) as writing, replacing(path) as part:
            picture.save(part)
        writing.failed                              # whether it could not, which is said once in a row of failures

    Args:
        what: the file, or the kind of files.
        errors: what counts as a failure; a foreign library may raise anything.
        quiet: say nothing; for the processes beside the first.
        again: after a success, a failure is worth a word again; not where a success may be one of waiting in a queue.
        then: what the sentence ends with.
    """

    def __init__(
        self,
        what: str | Path,
        errors: type[Exception] = OSError,
        *,
        quiet: bool = False,
        again: bool = True,
        then: str = "training goes on",
    ) -> None:
        self.what, self.errors, self.quiet, self.again, self.then = str(what), errors, quiet, again, then
        self.failed = False

    def __enter__(self) -> "attempt":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None:
            if self.again:
                _failing.discard(self.what)
            return False
        if not isinstance(error, self.errors):
            return False
        self.failed = True
        if self.what not in _failing and not self.quiet:
            log.warning("%s could not be written (%s); %s", self.what, reason(error), self.then)
        _failing.add(self.what)
        return True


def reason(error: BaseException) -> str:
    """Why something could not be written: in the words of the system, where it is behind a library's error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class Lasting:
    """A stream that takes what it is given, also while nothing can be written: a full disk, a terminal that is gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lasting_output() -> Iterator[None]:
    """Let a run print what it has to say, and not end where that can't be written: `train.py > log` on a full disk."""
    stream = sys.stdout
    try:
        with redirect_stdout(Lasting(stream)):
            yield
    finally:
        try:
            stream.flush()
        except OSError:  # what is left in the buffer would make Python end with a status of its own
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
