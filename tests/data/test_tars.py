"""Headers of .tar files: the members that tarfile and GNU tar put there, and nothing behind a fault."""

import io
import os
import random
import shutil
import subprocess
import tarfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from zoo.data.archives import opened_archive
from zoo.data.files import MissingData
from zoo.data.tars import LINKS, OTHERS, Entry, entries

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
NAMES = ["a.png", "empty.txt", "deep/" * 20 + "b.png", f"long/{'n' * 90}.png"]
LONG = ["x" * 150 + ".png", "é/ü.png", "deep/" * 60 + "c.png"]  # which ustar has no room or no letters for


def members(path: Path) -> list[Entry]:
    with path.open("rb") as file:
        return list(entries(file))


def written(path: Path, format: int, names: list[str], odd: bool = True) -> Path:
    """A .tar of files of 0 to some 700 bytes, and of a folder, links, a FIFO and a device in between."""
    with tarfile.open(path, "w", format=format) as file:
        for n, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = 0 if name.startswith("empty") else 100 + 200 * n
            info.mtime = 1e9 + 0.25 * n  # a fraction: pax has a header of its own for it
            file.addfile(info, io.BytesIO(bytes([65 + n]) * info.size))
            for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE) * odd:
                info = tarfile.TarInfo(f"odd{n}.png")
                info.type, info.linkname = kind, "/etc/passwd"
                file.addfile(info)
    return path


def by_tarfile(path: Path) -> list[tuple[str, int, int]]:
    with tarfile.open(path, "r:") as file:
        return [(m.name, m.offset_data, m.size) for m in file if m.isreg() and not m.issparse()]


def plain(found: list[Entry]) -> list[tuple[str, int, int]]:
    return [(entry.name, entry.offset, entry.size) for entry in found if not entry.kind]


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_the_members_that_tarfile_finds(tmp_path: Path, format: str) -> None:
    names = NAMES + (LONG if format != "ustar" else [])
    path = written(tmp_path / "x.tar", FORMATS[format], names)
    found = members(path)
    assert plain(found) == by_tarfile(path)
    assert [name for name, _, _ in plain(found)] == names
    assert [entry.kind for entry in found[1:5]] == [LINKS, LINKS, OTHERS, OTHERS]
    for n, (_, offset, size) in enumerate(plain(found)):
        assert path.read_bytes()[offset : offset + size] == bytes([65 + n]) * size


@pytest.mark.skipif(not shutil.which("tar"), reason="there is no tar")
@pytest.mark.parametrize(
    "flags", ["--format=v7", "--format=ustar", "--format=gnu", "--format=posix", "-S", "-S --posix"]
)
def test_what_tar_has_packed(tmp_path: Path, flags: str) -> None:
    """With holes (-S) a file is none of the images: its bytes do not lie behind each other."""
    folder = tmp_path / "set"
    for name in NAMES[:2] + ["deep/" * 3 + "b.png"] + ([] if "v7" in flags else [f"{'n' * 90}/{'m' * 60}.png"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"" if "empty" in name else os.urandom(777))
    with (folder / "holes.png").open("wb") as file:
        for n in range(60):  # more than one block of the header has room for
            file.seek(n * 2**17)
            file.write(b"x" * 4096)
    path = tmp_path / "x.tar"
    # one format's own command line, and the order that makes samples
    if subprocess.run(["tar", "--sort=name", *flags.split(), "-cf", path, "-C", folder, "."], check=False).returncode:
        pytest.skip("this tar has no such option")
    found = members(path)
    assert plain(found) == by_tarfile(path)
    holes = [entry for entry in found if "holes" in entry.name]
    assert len(holes) == 1
    if "-S" in flags and (folder / "holes.png").stat().st_blocks * 512 < 60 * 2**17:  # the file system has holes
        assert holes[0].kind == OTHERS


def test_a_member_larger_than_eight_gigabytes(tmp_path: Path) -> None:
    """Its size is written in bytes, not in digits."""
    info = tarfile.TarInfo("large.bin")
    info.size = 9 * 2**30
    with (tmp_path / "x.tar").open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.seek(info.size, os.SEEK_CUR)  # a hole
        file.write(tarfile.TarInfo("b.png").tobuf() + bytes(1024))
    assert plain(members(tmp_path / "x.tar")) == [("large.bin", 512, 9 * 2**30), ("b.png", 1024 + 9 * 2**30, 0)]


@pytest.mark.parametrize("format", FORMATS)
def test_wherever_it_is_cut_it_is_noticed(tmp_path: Path, format: str) -> None:
    """Between two members as well, which tarfile takes for the end."""
    path = written(tmp_path / "x.tar", FORMATS[format], [*NAMES, *(LONG if format == "pax" else [])])
    whole, found = path.read_bytes(), members(path)
    end = max(offset + -(-size // 512) * 512 for _, offset, size in (entry[:3] for entry in found))
    for length in {*range(0, len(whole), 512), *range(7, len(whole), 331)}:
        path.write_bytes(whole[:length])
        if length >= end + 512:
            assert members(path) == found
        else:
            with pytest.raises((EOFError, ValueError), match=r"truncated|too short|damaged"):
                members(path)


def test_what_is_no_whole_tar_is_said(tmp_path: Path) -> None:
    whole = written(tmp_path / "x.tar", tarfile.USTAR_FORMAT, NAMES, odd=False).read_bytes()
    path = tmp_path / "y.tar"
    damaged = bytearray(whole)
    damaged[1024 + 3] ^= 1  # a letter of the second name
    long = tarfile.TarInfo("x")
    long.type, long.size = tarfile.XHDTYPE, 2**40
    negative = bytearray(tarfile.TarInfo("x").tobuf())
    negative[124:136] = b"\xff" * 11 + b"\x00"
    negative[148:156] = b"%06o\0 " % (sum(negative[:148]) + sum(negative[156:]) + 256)
    for content, said in {
        b"": "too short",
        b"no archive" * 100: "damaged, or no",
        whole[:513]: f"truncated: {NAMES[0]} goes on behind its end",
        bytes(damaged): "damaged at byte 1,024",
        whole + whole: "goes on behind its end.* tar --concatenate",
        whole + bytes(3 * 2**20) + whole: "goes on behind its end.* tar --concatenate",
        long.tobuf(tarfile.GNU_FORMAT): "a header of 1,099,511,627,776 bytes",
        bytes(negative) + bytes(1024): "damaged",
        b"\x1f\x8b" + whole: "compressed.*gunzip",
        b"\x28\xb5\x2f\xfd" + whole: "compressed.*unzstd",
        tarfile.TarInfo("x").tobuf() + _pax(b"5 a=\n99999999 path=x\n") + whole: "damaged at byte 1,029",
        tarfile.TarInfo("x").tobuf() + _pax(b"0 a=\n") + whole: "damaged at byte 1,024",
    }.items():
        path.write_bytes(content)
        with pytest.raises((EOFError, ValueError), match=said):
            members(path)
        with pytest.raises(MissingData, match=rf"y\.tar can't be read: .*({said})"):
            opened_archive(path)


def _pax(content: bytes) -> bytes:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(content)
    return info.tobuf() + content + bytes(-len(content) % 512)


def test_flipped_bits_end_nothing(tmp_path: Path) -> None:
    """Another list of members, or a sentence, and soon."""
    path = written(tmp_path / "x.tar", tarfile.PAX_FORMAT, [*NAMES, *LONG])
    whole, dice, begun = path.read_bytes(), random.Random(1), time.monotonic()
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(dice.randrange(1, 4)):
            content[dice.randrange(len(content))] = dice.choice([0, 0x7F, 0x80, 0xFF, dice.randrange(256)])
        if dice.random() < 0.5:  # a checksum that is right all the same
            at = 512 * dice.randrange(len(content) // 512)
            block = content[at : at + 512]
            content[at + 148 : at + 156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 256)
        path.write_bytes(content)
        with suppress(EOFError, ValueError):
            assert all(entry.offset + entry.size <= len(content) for entry in members(path))
    assert time.monotonic() - begun < 60
