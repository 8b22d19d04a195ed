"""The range of the values in a set's files: what was asked for, what was found, and what of it was met.

A set has one range, or each of its two domains has one; the test split is read by that of the training files. Which
values there are is told (`notes`) from all files where they have been decoded by now, else from a sample of them.
"""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import PIL

from zoo.atomic import replacing
from zoo.data.archives import Root
from zoo.data.deep import Levels, ValueRange, check_range
from zoo.data.files import in_threads, spread
from zoo.data.reading import UnreadableImage, measure

SAMPLE = 256  # files that are looked at where not all are decoded


class Content(Protocol):
    """Files of one split, relative to a folder."""

    root: Root
    files: list[str]

    def digest(self) -> str: ...


@dataclass
class Domain:
    """The training files of a domain, how their values are read, and those that were met."""

    content: Content
    value_range: ValueRange
    met: Levels = field(default_factory=Levels)


class Values:
    """The values of a set's files.

    Args:
        asked: `zoo.data.deep.check_range`.
        skip: leave out unreadable files.
        cache_dir: where what was found in all files is kept.
    """

    def __init__(self, asked: Any, max_pixels: int, skip: bool, cache_dir: Path) -> None:
        self.asked, self.max_pixels, self.skip, self.cache_dir = asked, max_pixels, skip, cache_dir
        self.domains: list[Domain] = []
        self._of: dict[Root, Domain] = {}
        self._notes: list[tuple[str, str | None]] | None = None

    def settle(self, domains: Sequence[Sequence[Content]]) -> None:
        """Find the range of each domain; of its contents the training files come first.

        Raises:
            UnreadableImage: with min_max, a file that is no image, unless they are skipped.
            ValueError: with min_max, files that have no range in common.
        """
        self.domains, self._of, self._notes = [], {}, None
        for train, *others in domains:
            self.domains.append(Domain(train, self._found(train) if self.asked == "min_max" else self.asked))
            self._of |= {content.root: self.domains[-1] for content in (train, *others)}

    def of(self, root: Root | None) -> tuple[ValueRange, Levels | None]:
        """How the files below a folder are read, and what is to be told of their values."""
        if root in self._of:
            return self._of[root].value_range, self._of[root].met
        return (None if self.asked == "min_max" else self.asked), None

    def used(self) -> Any:
        """What decides the pixels, as plain data: what was asked for, or found."""
        return [list(domain.value_range or ()) for domain in self.domains] if self.asked == "min_max" else self.asked

    def notes(self) -> list[tuple[str, str | None]]:
        """Of each domain the values in words, and what is wrong with them; nothing of images that 8 bits hold.

        As it was when first asked, once the sets were there.
        """
        if self._notes is None:
            told = [self._told(domain) for domain in self.domains]
            self._notes = [note for note in told if note is not None]
        return self._notes

    def _told(self, domain: Domain) -> tuple[str, str | None] | None:
        files, levels, which = domain.content.files, domain.met, "all files"
        if not levels.images:
            sample, levels = spread(files, SAMPLE), Levels()
            which = "all files" if len(sample) == len(files) else f"a sample of {len(sample):,} of {len(files):,} files"
            self._look(domain.content.root, sample, levels, deep_only=not isinstance(domain.value_range, tuple))
        if not levels.images:
            return None
        where, complaint = domain.content.root, levels.complaint(domain.value_range, alone=len(self.domains) == 1)
        words = f"{levels.in_words(domain.value_range)} ({which})"
        return f"{where}: {words}" if len(self.domains) > 1 else words, f"{where}: {complaint}" if complaint else None

    def _look(self, root: Root, files: Sequence[str], levels: Levels, *, deep_only: bool) -> list[UnreadableImage]:
        """Tell `levels` of the values in these files; those that can't be read."""

        def look(file: str) -> UnreadableImage | None:
            try:
                measure(root / file, levels, max_pixels=self.max_pixels, deep_only=deep_only)
            except UnreadableImage as error:
                return error
            return None

        return [error for error in in_threads(look, files, ahead=4) if error is not None]

    def _found(self, train: Content) -> ValueRange:
        """The lowest and the highest value of all training files, which another run may have found before."""
        key = hashlib.sha256(f"{train.digest()} {self.max_pixels} {self.skip} {PIL.__version__}".encode()).hexdigest()
        file = self.cache_dir / "ranges" / f"{key[:24]}.json"
        with contextlib.suppress(OSError, ValueError):  # none, or a damaged one: it is found again
            if isinstance(kept := check_range(json.loads(file.read_text(encoding="utf-8"))), tuple):
                return kept
        levels = Levels()
        unreadable = self._look(train.root, train.files, levels, deep_only=False)
        if unreadable and (not self.skip or not levels.images):
            raise unreadable[0]
        if len(levels.kinds) > 1:
            kinds = " and ".join(f"{number:,} of {kind}" for kind, number in sorted(levels.kinds.items()))
            raise ValueError(
                f"data.range=min_max: {train.root} holds {kinds}, which have no range in common: give "
                "data.range=[lowest, highest] or data.range=full, or train on one kind"
            )
        if not levels.low < levels.high:
            raise ValueError(f"data.range=min_max: all values of {train.root} are {levels.low:g}, which is no range")
        with contextlib.suppress(OSError), replacing(file) as part:
            part.write_text(json.dumps([levels.low, levels.high]), encoding="utf-8")
        return levels.low, levels.high
