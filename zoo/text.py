"""Text that came from elsewhere, such as a file's name or its content, for a line on a terminal."""


def printable(text: str) -> str:
    """A line with what is no character in it (names of files are bytes) and what moves the cursor as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, *, length: int = 80) -> str:
    """The beginning of a text that is longer."""
    return text if len(text) <= length else f"{text[: length - 3]}..."
