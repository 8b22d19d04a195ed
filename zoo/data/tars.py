"""The headers of an uncompressed .tar: which members it has, and where in the file each of them lies.

The formats are POSIX's (ustar and pax) and GNU's. Python's tarfile reads them too, but takes a damaged header for the
end, and with it all images behind; keeps every member in memory; and reads a header of any length that a stranger
claims. Here the end has to be marked as it is in every .tar that was written to its end, so that a truncated file is
noticed wherever it was cut.

Nothing is ever unpacked: a member's name, its link or its device lead nowhere. Imports neither torch nor Lightning.
"""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from zoo.data.files import opened_regular

BLOCK = 512
NOTHING = bytes(BLOCK)  # marks the end
LONG = 2**16  # bytes of a pax header or of a long name, at most
PIECE = 2**20  # bytes behind the end that are looked at in one go
PACKED = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
}  # by its head
LINKS, OTHERS = "links", "no files"  # kinds of members


class Entry(NamedTuple):
    """A member that is no folder."""

    name: str  # as it is written there
    offset: int  # of its content in the file, in bytes
    size: int  # of its content
    kind: str  # "": a file; LINKS, or OTHERS such as devices and sparse files


def entries(file: BinaryIO) -> Iterator[Entry]:
    """The members of a .tar, in order. Between two of them the file may be read anywhere.

    Raises:
        EOFError, ValueError: it is truncated, damaged, compressed, or goes on behind its end.
    """
    length, at = file.seek(0, io.SEEK_END), 0
    name: str | None = None  # this and the others, where a header says it of the next
    size: int | None = None
    is_sparse = False
    while True:
        file.seek(at)
        block = file.read(BLOCK)
        if block == NOTHING:
            break
        if len(block) < BLOCK:
            raise EOFError("truncated: the mark of its end is missing" if at else "too short for a .tar")
        kind, own_name, own_size = _header(block, at)
        at += BLOCK
        if kind in b"xgLK":
            if own_size > LONG:
                raise ValueError(f"a header of {own_size:,} bytes (at byte {at:,})")
            content = file.read(own_size)
            if kind == b"x":
                records = _records(content, at)
                name = _text(records[b"path"]) if b"path" in records else name
                size = _number(records[b"size"], 10) if b"size" in records else size
                is_sparse = any(keyword.startswith(b"GNU.sparse") for keyword in records)
            elif kind == b"L":
                name = _text(content.partition(b"\0")[0])
            at += -(-own_size // BLOCK) * BLOCK
            continue
        if kind == b"S" and block[482]:  # what is left out goes on in blocks of its own
            more = b"\1" * BLOCK
            while more[504]:
                file.seek(at)
                more = file.read(BLOCK)
                at += BLOCK
                if len(more) < BLOCK:
                    raise EOFError(f"truncated: {own_name} goes on behind its end")
        name, size = own_name if name is None else name, own_size if size is None else size
        if kind == b"5" or (kind == b"\0" and own_name.endswith("/")):
            size = 0
        elif kind in b"12346":
            size = 0
            yield Entry(name, at, size, LINKS if kind in b"12" else OTHERS)
        elif at + size > length:
            raise EOFError(f"truncated: {name} goes on behind its end")
        else:
            yield Entry(name, at, size, "" if kind in b"0\0007" and not is_sparse else OTHERS)
        at += -(-size // BLOCK) * BLOCK
        name, size, is_sparse = None, None, False
    while behind := file.read(PIECE):  # zeros fill a record, of 20 blocks unless asked otherwise
        if behind.strip(b"\0"):
            raise ValueError("it goes on behind its end, as where cat has joined two: tar --concatenate does that")


def written(status: os.stat_result) -> tuple[int, int]:
    """By which a file is known to be as it was: its bytes, and when it was written, in nanoseconds."""
    return status.st_size, status.st_mtime_ns


def read_at(path: Path, offset: int, size: int, stamp: tuple[int, int]) -> bytes:
    """A part of a file that had that `written` when the place was found.

    Raises:
        ValueError: it has another.
        OSError: it can't be read.
    """
    with opened_regular(path) as file:
        now, date = written(os.fstat(file.fileno()))
        if now != stamp[0]:
            raise ValueError(f"{path.name} has {now:,} bytes now, and had {stamp[0]:,} when this run began")
        if date != stamp[1]:
            raise ValueError(f"{path.name} has been written anew since this run began")
        file.seek(offset)
        return file.read(size)


def _header(block: bytes, at: int) -> tuple[bytes, str, int]:
    """Kind, name and size that a header gives; a ValueError where it is none."""
    try:
        checksum = _number(block[148:156], 8)
        size = _number(block[124:136], 8)
    except ValueError:
        checksum = size = -1
    if checksum != sum(block) - sum(block[148:156]) + 8 * 32:  # as if blanks were there
        if not at and (unpack := next((word for mark, word in PACKED.items() if block.startswith(mark)), None)):
            raise ValueError(f"it is compressed, so that nothing could be read from its place: unpack it ({unpack})")
        raise ValueError(f"damaged at byte {at:,}" if at else "damaged, or no .tar")
    name = block[:100].partition(b"\0")[0]
    if block[345] and block[257:263] == b"ustar\0":  # elsewhere times are there
        name = block[345:500].partition(b"\0")[0] + b"/" + name
    return block[156:157], _text(name), size


def _number(field: bytes, base: int) -> int:
    """A number of at least 0, in digits or, as GNU writes large ones, in bytes behind 0x80."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:])
    digits = field.partition(b"\0")[0].strip() or b"0"
    if not digits.isdigit() or len(digits) > 20:
        raise ValueError(f"{field!r} is no number")
    return int(digits, base)


def _records(content: bytes, at: int) -> dict[bytes, bytes]:
    """What a pax header says: {keyword: value}, each written as "27 path=train/000123.jpg\\n"."""
    records: dict[bytes, bytes] = {}
    start = 0
    while start < len(content):
        digits = content[start : start + 8].partition(b" ")[0]
        end = start + (int(digits) if digits.isdigit() else 0)
        record = content[start + len(digits) + 1 : end]
        keyword, equals, value = record[:-1].partition(b"=")
        if not equals or record[-1:] != b"\n" or end > len(content):
            raise ValueError(f"damaged at byte {at + start:,}")
        records[keyword] = value
        start = end
    return records


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")
