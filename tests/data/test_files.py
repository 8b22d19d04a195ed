"""What lies below a folder: files that are none, folders that can't be listed, what is passed over."""

import os
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from zoo.data.check import check_folder
from zoo.data.files import MissingData, find, in_words, opened_regular, some_in, spread
from zoo.data.reading import Reader, UnreadableImage

NOBODY = 65534


def make_odd(folder: Path) -> dict[str, str]:
    """What is named like an image and is none, and what is said of it."""
    folder.mkdir(exist_ok=True)
    os.mkfifo(folder / "fifo.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket.jpg"))
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "terminal.tif").symlink_to("/dev/tty")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "there.gif").symlink_to(folder / "back.gif")
    (folder / "back.gif").symlink_to(folder / "there.gif")
    (folder / "dangling.webp").symlink_to(folder / "nothing.webp")
    (folder / "folder.png").mkdir()
    (folder / "made_up.png").symlink_to("/proc/self/status")
    (folder / "empty.bmp").touch()
    return {
        "fifo.png": "a FIFO, no file",
        "socket.jpg": "a socket, no file",
        "zero.png": "a character device, no file",
        "terminal.tif": "a character device, no file",
        "loop.png": "a link that leads in a circle",
        "there.gif": "a link that leads in a circle",
        "back.gif": "a link that leads in a circle",
        "dangling.webp": "a link that leads nowhere",
        "folder.png": "a folder, no file",
        "made_up.png": "an empty file",
        "empty.bmp": "an empty file",
    }


def test_what_is_no_file_is_found_and_named(tmp_path: Path) -> None:
    odd = make_odd(tmp_path / "images")
    Image.new("L", (8, 8)).save(tmp_path / "images" / "good.png")
    assert find(tmp_path / "images").images == sorted([*odd, "good.png"])
    report = check_folder(tmp_path / "images")
    assert report.unreadable == {name: f"{why}." for name, why in odd.items()}
    assert (report.readable, report.ok) == (1, False)
    read = Reader((8, 8), 1, "crop", (0, 0, 0), 1000)
    for name, why in odd.items():
        with pytest.raises(UnreadableImage) as caught:
            read(tmp_path / "images" / name)
        assert str(caught.value) == f"{tmp_path}/images/{name}: {why}."


def test_a_fifo_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at it and its opening."""
    (tmp_path / "a.png").write_bytes(b"an image")
    real = os.stat(tmp_path / "a.png")
    (tmp_path / "a.png").unlink()
    os.mkfifo(tmp_path / "a.png")
    with monkeypatch.context() as before:
        before.setattr(os, "stat", lambda path: real)
        with pytest.raises(OSError, match="a FIFO, no file"):
            opened_regular(tmp_path / "a.png")


def test_a_folder_named_like_an_image_is_entered(tmp_path: Path) -> None:
    (tmp_path / "clip.gif").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "clip.gif" / "0.png")
    (tmp_path / "notes.png" / "of.png").mkdir(parents=True)
    (tmp_path / "notes.png" / "of.png" / "a.txt").touch()
    assert find(tmp_path).images == ["clip.gif/0.png", "notes.png/of.png"]


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of the superuser, for whom nothing is forbidden."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_what_may_not_be_read_is_named() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own may be entered by its owner alone
        root = Path(folder)
        (root / "private").mkdir()
        for name in ("a.png", "b.png", "private/c.png"):
            Image.new("L", (8, 8)).save(root / name)
        if os.geteuid() == 0:
            for path in (root, root / "private", root / "b.png"):
                os.chown(path, NOBODY, NOBODY)
        os.chmod(root / "b.png", 0)
        os.chmod(root / "private", 0)
        try:
            with as_nobody():
                assert find(root).images == ["a.png", "b.png", "private"]
                report = check_folder(root)
                os.chmod(root, 0)
                with pytest.raises(MissingData, match=f"{root} can't be listed .Permission denied"):
                    find(root)
        finally:
            os.chmod(root, 0o700)
            os.chmod(root / "private", 0o700)
        why = "a folder that can't be listed: permission denied."
        assert report.unreadable == {"b.png": "permission denied.", "private": why}


def test_what_is_passed_over_is_counted_by_kind(tmp_path: Path) -> None:
    (tmp_path / "deeper" / ".thumbnails").mkdir(parents=True)
    for name in ("a.HEIC", "b.heic", "deeper/c.heic", "n.txt", "README", ".hidden.png", "d.CR2", "a.b/"):
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    (tmp_path / "deeper" / "up").symlink_to(tmp_path)
    Image.new("L", (8, 8)).save(tmp_path / "e.png")
    found = find(tmp_path)
    assert found.images == ["e.png"]
    kinds = {".heic": 3, ".txt": 1, ".cr2": 1, "hidden": 2, "without an extension": 1, "linked folders seen before": 1}
    assert found.passed_over == kinds
    words = in_words(found.passed_over)
    assert words.startswith("3 .heic, 1 .cr2, 1 .txt, 2 hidden, ")
    assert ".heic are read after pip install pillow-heif; .cr2 are read once converted" in words
    (tmp_path / "e.png").unlink()
    with pytest.raises(MissingData, match=r"holds no images: .*passed over: 3 \.heic.*pip install pillow-heif"):
        some_in(tmp_path, find(tmp_path))
    many = Counter({f".{n}": n for n in range(1, 20)})
    assert in_words(many) == ", ".join(f"{n} .{n}" for n in range(19, 11, -1)) + ", 66 of 11 other kinds"


def test_heic_is_read_where_the_package_is(tmp_path: Path) -> None:
    """By a stand-in for it, which registers a format of three lines."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.HEIC").write_bytes(b"heicstand-in")
    (tmp_path / "pillow_heif.py").write_text(
        "from PIL import Image, ImageFile\n"
        "class File(ImageFile.ImageFile):\n"
        "    format = 'HEIF'\n"
        "    def _open(self):\n"
        "        self._mode, self._size, self.tile = 'L', (2, 2), [('raw', (0, 0, 2, 2), 4, 'L')]\n"
        "def register_heif_opener():\n"
        "    Image.register_open('HEIF', File, lambda prefix: prefix[:4] == b'heic')\n"
    )
    code = "import sys, zoo.data.check as c; r = c.check_folder(sys.argv[1]); print(r.modes, r.ok)"
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "images")],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout == "Counter({'L': 1}) True\n"


def test_spread() -> None:
    assert spread(range(1000), 4) == [0, 250, 500, 750]
    assert list(spread(range(3), 4)) == [0, 1, 2]
