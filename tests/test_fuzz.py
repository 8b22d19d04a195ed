"""What nobody typed on purpose: seeded command lines and damaged files. A sentence or a sound result, and in time."""

import io
import json
import random
import resource
import signal
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from common import MODELS, SMALL, compose, shard
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from PIL import Image

import train
import zoo
from zoo.run.command import command_line, readable_errors
from zoo.run.config import choices, flatten, groups, plain

LINES, DAMAGED = 320, 240
SECONDS = 60  # that one command or one file may take
VALUES = [
    *("-1", "0", "1", "2", "3", "0.5", "-0.5", "1e-3", "1e400", "-inf", "nan", "10000000000", "true", "false", "null"),
    *("abc", "''", "[]", "[1]", "[1,2]", "[-1,nan]", "[a,b]", "{}", "{a:1}", "{_target_:os.getcwd}", "${seed}"),
    *("${oc.env:HOME}", "[{_target_:numpy.savetxt,fname:pwned,X:[1]}]", "half", "auto", "~", "/", "a=b", "(", "'", "é"),
]
NAMES = ["trainer.max_epochs", "trainer.max_steps", "+trainer.fast_dev_run", "+hydra.job.env_set.X", "run_dir", "foo"]
SHAPES = [  # of an override with a key and a value
    *("{}={}",) * 9,
    *("+{}={}", "++{}={}", "--{}={}", "{}:{}", "{} {}", "{}=", "{}", "={1}", "-{}={}", "{}={},{}"),
]


class Late(BaseException):
    """Nothing came of it in time; no code catches this on the way."""


@contextmanager
def in_time(seconds: int = SECONDS) -> Iterator[None]:
    """A `Late` if the block takes longer."""

    def late(number: int, frame: FrameType | None) -> None:
        raise Late(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def bounded_memory(more: int = 8 * 2**30) -> Iterator[None]:
    """Let what wants more memory fail instead of taking the machine's."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def mutated(text: str, dice: random.Random) -> str:
    """A slip of the fingers: a character lost, doubled, replaced, or two swapped."""
    at = dice.randrange(len(text))
    slips = [
        text[:at] + text[at + 1 :],
        text[:at] + text[at] + text[at:],
        text[:at] + dice.choice("abcxyz_.=+-,[{ 0") + text[at + 1 :],
        text[:at] + text[at : at + 2][::-1] + text[at + 2 :],
    ]
    return dice.choice(slips)


def near(value: Any, dice: random.Random) -> str:
    """Another value of the kind that a setting has, not always a sensible one."""
    if isinstance(value, list):
        some = [near(one, dice) for one in value]
        return f"[{','.join(dice.choice([some, some[:-1], [*some, *some[-1:]]]))}]"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return str(
        dice.choice([2 * value, value / 2, value // 2, value + 1, value - 1, -value, value * 1000, value / 1000])
    )


def command_lines() -> list[list[str]]:
    """Each a small run of some model, and what else was typed: one to three settings, right or wrong."""
    dice = random.Random(20_260_101)
    base = ["data.batch_size=4", "max_images=8", "metrics=none", "logger=csv"]
    composed = ["run_dir=x", "callbacks.report.overrides=[]", *base]
    settings = {model: flatten(plain(compose(f"model={model}", *composed))) for model in MODELS}
    lines = []
    for _ in range(LINES):
        model = dice.choice(MODELS)
        line = [f"model={model}", *SMALL.get(model, []), *base]
        for _ in range(dice.randint(1, 3)):
            kind = dice.random()
            if kind < 0.3:
                key = dice.choice([*settings[model], *NAMES])
                typed = dice.choice(SHAPES).format(key, dice.choice(VALUES), dice.choice(VALUES))
            elif kind < 0.6:
                numbers = {k: v for k, v in settings[model].items() if isinstance(v, int | float | list)}
                key, value = dice.choice(list(numbers.items()))
                typed = f"{key}={near(value, dice)}"
            elif kind < 0.8:
                group = dice.choice(groups())
                names = [name for name in [*choices(group), "nothing"] if "ddp" not in name]  # one process,
                names = [name for name in names if name != "cifar10"]  # and not 10,000 fakes a line
                typed = f"{group}={dice.choice(names)}"
            else:
                typed = mutated(dice.choice(line), dice)
            line.append(typed)
        lines.append(line)
    return lines


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """What `python train.py` does with a line, in this process: its status, what it said, the model that it trained."""
    trained: list[Any] = []
    run = train.run
    monkeypatch.setattr(train, "run", lambda cfg: trained.append(run(cfg)) or trained[-1])

    def typed(line: list[str]) -> tuple[int, str, Any]:
        trained.clear()
        GlobalHydra.instance().clear()
        folder = tmp_path / f"line-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        status = 0
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        monkeypatch.setattr(sys, "argv", ["train.py", *line])
        try:
            with in_time(), bounded_memory(), readable_errors():
                sys.argv[1:] = command_line(sys.argv[1:])
                train.main()
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else 1
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return status, capsys.readouterr().err, trained[0].lightning_module if trained else None

    return typed


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_command_lines(part: int, typed: Callable[..., Any], tmp_path: Path) -> None:
    """Status 2 with one sentence, or a run that ended with its budget and finite weights."""
    faults = []
    for line in command_lines()[part::8]:
        shown = " ".join(line)
        try:
            status, said, model = typed(line)
        except BaseException as error:  # a traceback for the user
            faults.append(f"{type(error).__name__}: {str(error)[:200]}\n    {shown}")
            continue
        sentences = [text for text in said.splitlines() if text.startswith("train.py: ")]
        if status not in (0, 2) or (status == 2 and len(sentences) != 1) or "Traceback" in said:
            faults.append(f"status {status}: {said[-300:]}\n    {shown}")
        if model is not None:
            bad = [n for n, t in model.state_dict().items() if torch.is_tensor(t) and not t.isfinite().all()]
            if bad or model.images < 1:
                faults.append(f"accepted, with {model.images} images and {bad[:2]} not finite\n    {shown}")
        if list(tmp_path.rglob("pwned")):
            faults.append(f"wrote a file\n    {shown}")
    assert not faults, f"{len(faults)} of {len(command_lines()[part::8])}:\n" + "\n".join(faults)


# Damaged files -------------------------------------------------------------------------------------------------------


def damaged(content: bytes, dice: random.Random) -> bytes:
    """Cut off, bits turned, a stretch zeroed or repeated or replaced by noise, or bytes put in."""
    at = dice.randrange(len(content))
    stretch = dice.randint(1, max(1, len(content) // 4))
    kind = dice.randrange(6)
    if kind == 0:
        return content[:at]
    if kind == 1:
        flipped = bytearray(content)
        for _ in range(dice.choice([1, 8, 64])):
            flipped[dice.randrange(len(flipped))] ^= 1 << dice.randrange(8)
        return bytes(flipped)
    if kind == 2:
        return content[:at] + bytes(len(content[at : at + stretch])) + content[at + stretch :]
    if kind == 3:
        return content[:at] + content[at : at + stretch] * 2 + content[at + stretch :]
    if kind == 4:
        return content[:at] + dice.randbytes(len(content[at : at + stretch])) + content[at + stretch :]
    return content[:at] + dice.randbytes(dice.randint(1, 16)) + content[at:]


@contextmanager
def refused_or_sound(what: str, path: Path, faults: list[str]) -> Iterator[None]:
    """Note what goes wrong in the block, but for a refusal that names the file in a sentence."""
    try:
        with in_time(), bounded_memory():
            yield
    except ValueError as error:
        if str(path) not in str(error) or "\n" in str(error):
            faults.append(f"{what} is not named, in a sentence: {error}")
    except BaseException as error:
        faults.append(f"{what}: {type(error).__name__}: {str(error)[:200]}")


def encoded(image: Image.Image, format: str) -> bytes:
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


def picture(mode: str) -> Image.Image:
    values = np.random.default_rng(1).integers(0, 256, (20, 24, 4), np.uint8)
    if mode == "I;16":
        return Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    return Image.fromarray(values[..., : {"L": 1, "RGB": 3, "RGBA": 4}[mode]].squeeze())


IMAGES = {
    **{f"{mode}.png": (mode, "PNG") for mode in ("L", "RGB", "I;16")},
    **{f"{mode}.tif": (mode, "TIFF") for mode in ("L", "RGB", "I;16")},
    **{"rgb.jpg": ("RGB", "JPEG"), "rgba.webp": ("RGBA", "WEBP"), "l.gif": ("L", "GIF"), "rgb.bmp": ("RGB", "BMP")},
    **{"rgb.ppm": ("RGB", "PPM"), "rgb.tga": ("RGB", "TGA")},
}


@pytest.mark.slow
def test_damaged_images(tmp_path: Path) -> None:
    """As training, `zoo check-data` and `zoo upscale` read them: pixels of the right shape, or an UnreadableImage."""
    from zoo.data.check import check_folder
    from zoo.data.reading import MAX_PIXELS, Reader, UnreadableImage
    from zoo.use import upscale

    dice, faults = random.Random(1), []
    reader = Reader((16, 16), 3, "crop", (255, 255, 255), MAX_PIXELS)
    for number in range(DAMAGED // 2):
        name = dice.choice(list(IMAGES))
        path = tmp_path / f"{number}-{name.replace(';', '')}"
        path.write_bytes(damaged(encoded(picture(IMAGES[name][0]), IMAGES[name][1]), dice))
        for read in (reader, upscale.read):
            try:
                with in_time(), bounded_memory():
                    result: Any = read(path)
                pixels = getattr(result, "pixels", result)
                if pixels.ndim != 3 or pixels.dtype not in (np.uint8, np.uint16):
                    faults.append(f"{path.name}: {pixels.shape} {pixels.dtype}")
            except UnreadableImage as error:
                if str(path) not in str(error):
                    faults.append(f"{path.name} is not named: {error}")
            except BaseException as error:
                faults.append(f"{path.name}: {type(error).__name__}: {str(error)[:200]}")
    with in_time(120):
        report = check_folder(tmp_path)
    assert report.readable + len(report.unreadable) == DAMAGED // 2
    assert not faults, "\n".join(faults)


@pytest.mark.slow
def test_damaged_checkpoints(tmp_path: Path, small: Callable[..., Any]) -> None:
    """`zoo.load` refuses each with a sentence that names it, or draws what the whole one draws."""
    cfg = small("vanilla", "max_images=16")
    train.run(cfg)
    whole = (Path(cfg.run_dir) / "checkpoints" / "last.ckpt").read_bytes()
    expected = zoo.load(Path(cfg.run_dir)).sample(2)
    dice, faults = random.Random(2), []
    for number in range(DAMAGED // 2):
        path = tmp_path / f"{number}.ckpt"
        path.write_bytes(damaged(whole, dice))
        with refused_or_sound(path.name, path, faults):
            if not torch.equal(zoo.load(path).sample(2), expected):
                faults.append(f"{path.name}: other images")
        path.unlink()
    assert not faults, "\n".join(faults)


def files_of_labelled_images(folder: Path) -> dict[str, bytes]:
    """The same eight images as an archive, a shard, as arrays, and their labels as tables."""
    names, images = [f"{n % 2}/{n}.png" for n in range(8)], [picture("L").resize((16, 16)).rotate(n) for n in range(8)]
    pixels = np.stack([np.asarray(image) for image in images])
    table = "file,class\n" + "".join(f"{name},{n % 3}\n" for n, name in enumerate(names))
    labels = json.dumps({"labels": [[name, n % 3] for n, name in enumerate(names)]})
    with zipfile.ZipFile(folder / "set.zip", "w") as archive:
        for name, image in zip(names, images, strict=True):
            archive.writestr(name, encoded(image, "PNG"))
        archive.writestr("dataset.json", labels)
    samples = [{f"{n}.cls": b"%d" % (n % 3), f"{n}.png": encoded(image, "PNG")} for n, image in enumerate(images)]
    shard(folder / "set.tar", [member for sample in samples for member in sample.items()])
    np.savez(folder / "set.npz", images=pixels, labels=np.arange(8) % 3)
    np.save(folder / "set.npy", pixels)
    for name, image in zip(names, images, strict=True):
        (folder / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "set" / name).write_bytes(encoded(image, "PNG"))
    written = {name: (folder / name).read_bytes() for name in ("set.zip", "set.tar", "set.npz", "set.npy")}
    return {**written, "labels.csv": table.encode(), "dataset.json": labels.encode()}


@pytest.mark.slow
def test_damaged_archives_and_tables(tmp_path: Path) -> None:
    """A set is refused with a ValueError that names the file, or gives batches of the right shape."""
    whole, dice, faults = files_of_labelled_images(tmp_path), random.Random(3), []
    for number in range(DAMAGED // 2):
        name = dice.choice(list(whole))
        path = tmp_path / f"{number}-{name}"
        path.write_bytes(damaged(whole[name], dice))
        is_table = name.endswith((".csv", ".json"))
        where = [f"data.root={tmp_path}/set", f"data.labels={path}"] if is_table else [f"data.root={path}"]
        kind = "folder" if name == "set.npy" else "labelled_folder"
        small = ["data.image_size=16", "data.channels=1", "data.batch_size=2", "data.num_workers=0"]
        cfg = compose(f"data={kind}", *where, *small, "metrics=none", "run_dir=x")
        try:
            with in_time(), bounded_memory(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                data = instantiate(cfg.data, _convert_="all")
                data.setup("fit")
                assert data.description
                batch = next(iter(data.train_dataloader()))
            if batch.image.shape != (2, 1, 16, 16) or batch.image.dtype != torch.uint8:
                faults.append(f"{path.name}: {tuple(batch.image.shape)} {batch.image.dtype}")
        except ValueError as error:
            if path.name not in str(error) and f"{tmp_path}/set" not in str(error):
                faults.append(f"{path.name} is not named: {error}")
        except BaseException as error:
            cause = error.__cause__ or error
            if not isinstance(cause, ValueError):
                faults.append(f"{path.name}: {type(cause).__name__}: {str(cause)[:200]}")
    assert not faults, "\n".join(faults)


@pytest.mark.slow
def test_damaged_overrides(tmp_path: Path) -> None:
    """Of a run that is gone on with: refused with the file's name, or settings as Hydra takes them."""
    file = tmp_path / "run" / ".hydra" / "overrides.yaml"
    file.parent.mkdir(parents=True)
    whole = b"- model=stylegan_lite\n- data=folder\n- data.root=set\n- model.lr.D=1e-3\n- seed=3\n"
    dice, faults = random.Random(4), []
    for _ in range(DAMAGED // 2):
        content = damaged(whole, dice)
        file.write_bytes(content)
        with refused_or_sound(repr(content), file, faults):
            line = command_line([f"resume={tmp_path}/run"])
            if line[-1] != f"hydra.run.dir={tmp_path}/run" and line[-1] != f"hydra.run.dir='{tmp_path}/run'":
                faults.append(f"{content!r}: {line}")
    assert not faults, "\n".join(faults)
