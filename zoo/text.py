"""Text that came from elsewhere: a small file's, and a name or a value for a line on a terminal."""

import re
import sys
from pathlib import Path

# The names of settings that hold a path, without the group: root of data.root.
PATHS = re.compile(r"(\w+_)?(root|dir|folder|path|file)(_[xy])?|start|weights|labels|resume")


def trains() -> str:
    """The words that train, as they work here: "python train.py" in a clone, "zoo train" where that is typed or there
    is no clone."""
    package = Path(__file__).parent
    is_cloned = (package.parent / "train.py").is_file() and not (package / "conf").is_dir()
    return "python train.py" if is_cloned and sys.argv[1:2] != ["train"] else "zoo train"


def printable(text: str) -> str:
    """A line with what is no character in it (names of files are bytes) and what moves the cursor as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, *, length: int = 80) -> str:
    """The beginning of a text that is longer."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def read_small(path: Path, *, limit: int) -> str:
    """A small file's text, of at most `limit` bytes.

    Raises:
        ValueError: if it is a pipe, a folder or a device, larger, not in UTF-8, or can't be read.
    """
    if not path.is_file():
        raise ValueError(f"{path} is no file")
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise ValueError(f"{path} is damaged: it has more than {limit:,} bytes")
        return content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is damaged: it is no text in UTF-8") from None
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from None
