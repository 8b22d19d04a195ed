"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write to, of the same name, which takes the place of `path` when the block ends well.

    Other processes see the earlier file or the new one, never a part. It is in a folder of its own beside `path`,
    `.<name>.<random>.part`, which vanishes; a process that is killed in the block leaves it behind. The folder of
    `path` is made where there is none.

    Raises:
        OSError: if the folder can't be made or written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{path.name}.", suffix=".part", dir=path.parent) as folder:
        part = Path(folder, path.name)
        yield part
        os.replace(part, path)
