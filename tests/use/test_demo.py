"""What the page of zoo demo shows: each ability on every variant, what visitors may send, several of them at once."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from common import MODELS, some_slow, untrained
from PIL import Image
from torch import Tensor, nn

import zoo
from zoo.game.abilities import FromLatents, OfAttributes, Scores, Styles, Translates, Truncates, Upscales, classes_of
from zoo.use import retouch
from zoo.use.demo import shown as room
from zoo.use.demo.shown import EACH, OWN, Looks, Shown, check_file
from zoo.use.pictures import GAP
from zoo.use.sample import draw
from zoo.use.styles import Directions
from zoo.weights.names import find, published


def bytes_of(picture: Image.Image) -> bytes:
    return np.asarray(picture.convert("RGB")).tobytes()


def picture(path: Path, width: int = 20, height: int = 16, mode: str = "RGB") -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(noise).convert(mode).save(path)
    return path


@pytest.fixture(scope="module")
def styled() -> Shown:
    return Shown(untrained("stylegan_lite"), "styled")


QUICK = ("vanilla", "f_anogan", "cyclegan", "srgan", "stylegan_lite")  # which have all abilities


@pytest.mark.parametrize("model", some_slow(MODELS, *QUICK))
def test_each_variant_shows_what_its_abilities_promise(model: str, tmp_path: Path) -> None:
    gan: Any = untrained(model)
    shown = Shown(gan, "a name")
    assert type(gan).__name__ in shown.about()
    assert shown.notice() == ""
    photo, tried = picture(tmp_path / "a.png", 40, 36), 0
    if isinstance(gan, FromLatents):
        tried += 1
        _, height, width = shown.shape or ()
        grid = shown.grid(3, 4, Looks())
        factor = (grid.width - GAP) // 2 // width
        assert grid.size == (2 * (width * factor + GAP) + GAP, 2 * (height * factor + GAP) + GAP)
        assert bytes_of(grid) != bytes_of(shown.grid(4, 4, Looks()))
        assert min(shown.one(3, Looks()).size) >= 256
        ends = [shown.walk(3, 5, t, Looks()) for t in (0.0, 0.4, 1.0)]
        assert len({bytes_of(end) for end in ends}) == 3
        assert shown.strip(3, 5, Looks()).width > 9 * width
    if isinstance(gan, Styles):
        tried += 1
        names = shown.directions().names
        still, moved = ([0.0] * len(names), [1.0, *[0.0] * (len(names) - 1)])
        assert bytes_of(shown.moved(2, moved, "all", Looks())) != bytes_of(shown.moved(2, still, "all", Looks()))
        assert (
            shown.mixture("0-1", "2-3", "coarse", Looks()).height < shown.mixture("0-1", "2-3", "each", Looks()).height
        )
        found, beside, words = shown.found(photo, part="centre", steps=2, plus=False)
        assert beside.width > 2 * 256
        assert words.endswith("dB after 2 steps")
        edited, whole = shown.retouched(found, moved, "all")
        assert bytes_of(edited) != bytes_of(shown.retouched(found, still, "all")[0])
        assert whole is not None
    if isinstance(gan, Translates):
        tried += 1
        for direction in gan.directions:
            there, back, changed = shown.translated(photo, direction)
            assert there.size == (40 * 8, 36 * 8)
            assert (back is not None) == (len(gan.directions) == 2)
            assert changed == ""
    if isinstance(gan, Upscales):
        tried += 1
        (before, after), words = shown.enlarged(photo)
        assert before.size == after.size
        assert bytes_of(before) != bytes_of(after)
        assert words == f"40x36 pixels to {40 * gan.scale}x{36 * gan.scale}"
    if isinstance(gan, Scores):
        tried += 1
        seen, heat, words = shown.scored(photo)
        assert seen.size == heat.size
        assert words.startswith("score ")
    assert tried


@pytest.mark.parametrize("name", some_slow(sorted(published()), "cgan-mnist5k", "stylegan_lite-mnist5k"))
def test_published_weights_are_shown(name: str) -> None:
    model = zoo.load(name)
    shown = Shown(model, name, find(name))
    assert "images" in shown.about()
    if shown.shape:
        looks = Looks(EACH if shown.classes else OWN)
        assert np.ptp(np.asarray(shown.grid(0, 4, looks))) == 255


def test_a_grid_is_what_zoo_sample_draws(styled: Shown) -> None:
    images = draw(styled.model, range(7, 11), None, 0.5)
    grid = np.asarray(styled.grid(7, 4, Looks(psi=0.5)))
    factor = (grid.shape[0] - GAP) // 2 // 16
    corner = grid[GAP : GAP + 16 * factor : factor, GAP : GAP + 16 * factor : factor, 0]
    assert np.abs(corner.astype(int) - (images[0, 0] * 255).numpy()).max() <= 1


@pytest.mark.parametrize("number", [1, 5, 16, 64])
def test_the_image_of_a_grid_at_a_pixel(styled: Shown, number: int) -> None:
    grid = styled.grid(0, number, Looks())
    columns = styled.columns(number, Looks())
    side = (grid.width - GAP) // columns
    for index in range(number):
        row, column = divmod(index, columns)
        for at in (GAP + 1, side - 2):
            assert styled.at(column * side + at, row * side + at, number, Looks()) == (index, OWN)
    assert styled.at(grid.width + side, 3, number, Looks()) is None
    assert styled.at(-1, 3, number, Looks()) is None


def test_the_image_of_rows_of_classes_at_a_pixel() -> None:
    shown = Shown(untrained("cgan"), "classes")
    shown.classes[3] = "a long name"
    grid, sides = shown.grid(5, 4, Looks(EACH)), (shown.shape or ())[1:]
    side = -(-64 // sides[0]) * sides[0]
    edge = grid.width - 4 * (side + GAP)
    assert edge > 80  # for the names
    for row, column in ((0, 0), (3, 2), (9, 3)):
        x, y = edge + column * (side + GAP) + side // 2, GAP + row * (side + GAP) + side // 2
        assert shown.at(x, y, 4, Looks(EACH)) == (column, row)
        picture, words = shown.picked((column, row), 5, 4, Looks(EACH))
        assert bytes_of(picture) == bytes_of(shown.one(5 + column, Looks(row)))
        assert words == f"seed {5 + column}, {shown.classes[row]}"
    for x, y in ((edge - GAP - 1, 30), (grid.width + 3, 30), (edge + 9, grid.height + 3), (edge + 9, 0)):
        assert shown.at(x, y, 4, Looks(EACH)) is None


def test_the_large_image_is_one_of_the_grid(styled: Shown) -> None:
    large = lambda seed: bytes_of(styled.one(seed, Looks()))
    for place, seed, number, words in (
        (None, 7, 4, "seed 7"),
        ((3, OWN), 7, 4, "seed 10"),
        ((3, OWN), 20, 4, "seed 23"),
        ((3, OWN), 7, 2, "seed 7"),  # which has no fourth
    ):
        picture, said = styled.picked(place, seed, number, Looks())
        assert said == words
        assert bytes_of(picture) == large(int(words.split()[1]))
    for seed, number in ((None, 4), (3, None), ("3", 4)):
        with pytest.raises(ValueError, match=r"must be a number"):
            styled.picked((1, OWN), seed, number, Looks())  # type: ignore[arg-type]


def test_classes() -> None:
    gan = untrained("cgan")
    shown = Shown(gan, "classes")
    assert len(shown.classes) == len(classes_of(gan)) == 10
    rows = shown.grid(0, 4, Looks(EACH))
    assert rows.height > 10 * 16
    one, other = (bytes_of(shown.one(5, Looks(k))) for k in (2, 3))
    assert one != other
    assert bytes_of(shown.one(12, Looks(OWN))) == bytes_of(shown.one(12, Looks(2)))  # each seed its own
    first, second = (bytes_of(shown.walk(0, 1, 0.5, Looks(k))) for k in (OWN, 0))
    assert first == second  # in Z a class does not change on the way: it is the first seed's
    for label in (-3, 10, 2.5, None, True, float("nan")):
        with pytest.raises(ValueError, match="the class must be"):
            shown.grid(0, 4, Looks(label))  # type: ignore[arg-type]


class Attributed(nn.Module, FromLatents, OfAttributes):
    """An image is as light as the attributes say."""

    latent_dim, images, device = 4, 3, torch.device("cpu")
    attributes: ClassVar = ["Smiling", "<b>Male</b>"]

    def from_latents(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        assert labels is not None
        return labels.mean(1).view(-1, 1, 1, 1).expand(len(z), 1, 8, 8) / 2


def test_attributes() -> None:
    shown = Shown(Attributed(), "attributes")
    assert bytes_of(shown.grid(0, 4, Looks(attributes=[0, 0]))) != bytes_of(shown.grid(0, 4, Looks(attributes=[0, 1])))
    assert bytes_of(shown.strip(0, 4, Looks(attributes=[0, 0]))) != bytes_of(
        shown.strip(0, 4, Looks(attributes=[1, 1]))
    )
    with pytest.raises(ValueError, match="1 values for 2 attributes"):
        shown.grid(0, 4, Looks(attributes=[1]))
    with pytest.raises(ValueError, match="Smiling must be a number"):
        shown.grid(0, 4, Looks(attributes=[float("inf"), 0]))


def test_truncation_draws_towards_the_mean(styled: Shown) -> None:
    assert isinstance(styled.model, Truncates)
    assert bytes_of(styled.one(1, Looks(psi=0))) == bytes_of(styled.one(2, Looks(psi=0)))
    assert bytes_of(styled.one(1, Looks(psi=0.5))) != bytes_of(styled.one(1, Looks(psi=1)))


@pytest.mark.parametrize("value", [None, "0", True, -1, 2**62 + 2**20, 1.5, float("nan"), float("inf"), [1]])
def test_numbers_that_are_none_are_refused(styled: Shown, value: Any) -> None:
    for act in (
        lambda: styled.grid(value, 4, Looks()),
        lambda: styled.one(value, Looks()),
        lambda: styled.walk(0, value, 0.5, Looks()),
        lambda: styled.moved(value, [0.0] * 6, "all", Looks()),
    ):
        with pytest.raises(ValueError, match="the seed must be a"):
            act()


def test_more_that_a_visitor_can_ask_for_in_vain(styled: Shown, tmp_path: Path) -> None:
    six = [0.0] * 6
    for act, words in (
        (lambda: styled.grid(0, 65, Looks()), "the number of images must be a number from 1 to 64, and is 65"),
        (lambda: styled.grid(0, 0, Looks()), "the number of images must be"),
        (lambda: styled.walk(0, 1, 1.01, Looks()), "the way must be a number from 0 to 1"),
        (lambda: styled.grid(0, 4, Looks(psi=3)), "the truncation must be a number from 0 to 2"),
        (lambda: styled.grid(0, 4, Looks(EACH)), "0 classes are no rows of a grid"),
        (lambda: styled.moved(0, [*six, 0.0], "all", Looks()), "7 strengths for 6 directions"),
        (lambda: styled.moved(0, [9.0, *six[1:]], "all", Looks()), "the strength of 0 must be a number from -4 to 4"),
        (lambda: styled.moved(0, six, "0-99", Looks()), "the layers 0-99 are none of coarse"),
        (lambda: styled.mixture("0-100", "1", "fine", Looks()), "101 seeds on the left are too many"),
        (lambda: styled.mixture("", "1", "fine", Looks()), "seeds on the left=: 'nothing' is no number"),
        (lambda: styled.mixture("1", "x", "fine", Looks()), "seeds above=x: 'x' is no number"),
        (lambda: styled.found(picture(tmp_path / "p.png"), part="centre", steps=0, plus=False), "the steps must be"),
        (
            lambda: styled.found(picture(tmp_path / "p.png"), part="centre", steps=10**6, plus=False),
            "the steps must be",
        ),
        (
            lambda: styled.found(picture(tmp_path / "p.png", 99, 99), part="face", steps=1, plus=False),
            "no upright face",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            act()


# Files ---------------------------------------------------------------------------------------------------------------


def hostile(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that a visitor may send, and what is said of them."""
    files = {}
    (folder / "text.png").write_text("no picture\n")
    files["text"] = folder / "text.png", "not an image"
    (folder / "empty.png").write_bytes(b"")
    files["empty"] = folder / "empty.png", "an empty file"
    whole = picture(folder / "whole.png", 60, 60).read_bytes()
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    files["half"] = folder / "half.png", "truncated"
    Image.new("1", (6000, 6000)).save(folder / "bomb.png")
    assert (folder / "bomb.png").stat().st_size < 100_000
    files["bomb"] = folder / "bomb.png", "6000x6000 pixels, too many for the page"
    Image.new("1", (20_001, 1)).save(folder / "line.png")
    files["line"] = folder / "line.png", "20001x1 pixels, too long for the page: cut it, to 20,000 a side"
    files["gone"] = folder / "gone.png", "not there any more"
    (folder / "folder.png").mkdir()
    files["folder"] = folder / "folder.png", "a folder, no file"
    os.mkfifo(folder / "fifo.png")
    files["fifo"] = folder / "fifo.png", "a FIFO, no file"
    with (folder / "large.png").open("wb") as file:
        file.truncate(room.MOST_BYTES + 1)
    files["large"] = folder / "large.png", "more than 20 MB"
    return files


@pytest.mark.parametrize("model", ["cyclegan", "srgan", "f_anogan", "stylegan_lite"])
def test_a_file_that_is_no_picture_is_a_sentence(model: str, tmp_path: Path) -> None:
    shown = Shown(untrained(model), model)
    acts = {
        "cyclegan": lambda file: shown.translated(file, "X->Y"),
        "srgan": shown.enlarged,
        "f_anogan": shown.scored,
        "stylegan_lite": lambda file: shown.found(file, part="centre", steps=1, plus=False),
    }
    for file, words in hostile(tmp_path).values():
        with pytest.raises(ValueError, match=words) as refusal:
            acts[model](file)
        assert "\n" not in str(refusal.value)


def test_any_picture_is_taken(tmp_path: Path) -> None:
    check_file(picture(tmp_path / "a.jpg"))
    translator, enlarger = Shown(untrained("cyclegan"), "x"), Shown(untrained("srgan"), "y")
    for mode, name in (
        ("L", "grey.png"),
        ("RGBA", "alpha.png"),
        ("P", "palette.gif"),
        ("CMYK", "print.jpg"),
        ("1", "b.png"),
    ):
        file = picture(tmp_path / name, mode=mode)
        assert translator.translated(file, "Y->X")[0].mode == "RGB"
        assert enlarger.enlarged(file)[0][1].mode == "RGB"
    deep = np.random.default_rng(0).integers(0, 65536, (16, 20), np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert enlarger.enlarged(tmp_path / "deep.png")[0][1].mode == "RGB"


def test_a_long_strip_stays_thin(tmp_path: Path) -> None:
    translator, enlarger = Shown(untrained("cyclegan"), "x"), Shown(untrained("srgan"), "y")
    for width, height in ((3000, 1), (1, 3000), (256, 2), (1, 1)):
        file = picture(tmp_path / f"{width}x{height}.png", width, height)
        there, back, _ = translator.translated(file, "X->Y")
        (before, after), _ = enlarger.enlarged(file)
        for shown in (there, back, before, after):
            assert shown is not None
            assert max(shown.size) <= room.LONGEST
    assert max(translator.translated(tmp_path / "1x1.png", "X->Y")[0].size) == room.LARGE  # what is small is enlarged


def test_a_photograph_that_is_edited_is_shown_smaller(
    styled: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "EDITED", 100)
    file = picture(tmp_path / "wide.png", 300, 90)
    Image.open(file).resize((300, 90)).save(file)
    found, _, words = styled.found(file, part="centre", steps=1, plus=True)
    assert words.endswith("dB after 1 steps; in its place in 100x30 of 300x90 pixels: zoo edit keeps the size")
    _, whole = styled.retouched(found, [3.0, *[0.0] * 5], "all")
    assert found.photograph is not None
    assert found.photograph.shape[2:] == (30, 100)
    assert whole is not None
    pixels, factor = np.asarray(whole), whole.width // 100
    before = (found.photograph[0].permute(1, 2, 0) / 2 + 0.5).mul(255).round().numpy()
    changed = (np.abs(pixels[::factor, ::factor] - before) > 1).any((0, 2)).nonzero()[0]
    assert 35 <= changed.min() <= 45  # the square in the middle
    assert 55 <= changed.max() <= 65


def test_large_pictures_are_made_smaller_or_shown_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = picture(tmp_path / "wide.png", 100, 40)
    monkeypatch.setattr(room, "LARGEST", 50)
    there, _, words = Shown(untrained("cyclegan"), "x").translated(file, "X->Y")
    assert there.width / there.height == 2.5
    assert words == "made smaller before, 50x20 of 100x40 pixels: zoo translate keeps the size"
    monkeypatch.setattr(room, "PART", 32)
    _, words = Shown(untrained("srgan"), "x").enlarged(file)
    assert words == "the middle of 100x40 pixels, 32x32 pixels to 64x64; zoo upscale enlarges the whole"


def test_an_edit_lies_in_its_place_in_the_photograph(styled: Shown, tmp_path: Path) -> None:
    file = picture(tmp_path / "wide.png", 300, 100)
    found, _, _ = styled.found(file, part="centre", steps=1, plus=True)
    _, whole = styled.retouched(found, [3.0, *[0.0] * 5], "all")
    assert whole is not None
    pixels, before = np.asarray(whole), np.asarray(Image.open(file))
    factor = whole.width // 300
    assert (pixels[::factor, : 99 * factor : factor] == before[:, :99]).all()  # left of the centre
    assert (pixels[::factor, 100 * factor : 200 * factor : factor] != before[:, 100:200]).any()
    small = picture(tmp_path / "small.png", 9, 9)
    found, _, _ = styled.found(small, part="centre", steps=1, plus=False)
    assert found.frame is None
    assert styled.retouched(found, [0.0] * 6, "all")[1] is None


def test_a_face_is_looked_for(styled: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retouch, "find_face", lambda photograph, size: retouch.Frame(30, 30, 20, 20))
    found, _, _ = styled.found(picture(tmp_path / "p.png", 80, 80), part="face", steps=1, plus=False)
    assert found.frame == retouch.Frame(30, 30, 20, 20)


def test_scores_are_told_by_those_of_normal_images(tmp_path: Path) -> None:
    file = picture(tmp_path / "p.png", 16, 16, "L")
    model: Any = untrained("f_anogan")
    value = float(Shown(model, "x").scored(file)[2].split()[1].rstrip(","))
    _, _, words = Shown(model, "x", normal=[value - 1, value - 2, value + 1, value + 2]).scored(file)
    assert words.endswith("above that of 50% of 4 normal test images")


def test_directions_of_another_model_are_refused() -> None:
    model: Any = untrained("stylegan_lite")
    named = Directions.of(["smile"], torch.ones(1, 8), torch.randn(50, 8))
    shown = Shown(model, "x", directions=named)
    assert shown.directions().names == ["smile"]
    assert bytes_of(shown.moved(0, [2.0], "all", Looks())) != bytes_of(shown.moved(0, [0.0], "all", Looks()))
    with pytest.raises(ValueError, match="styles have 5 numbers, and here they have 8"):
        Shown(model, "x", directions=Directions.of(["smile"], torch.ones(1, 5), torch.randn(50, 5)))


# Time ----------------------------------------------------------------------------------------------------------------


def test_a_run_that_goes_away_or_changes_is_said(tmp_path: Path) -> None:
    place = tmp_path / "run" / "best.ckpt"
    place.parent.mkdir()
    place.write_text("weights")
    shown = Shown(untrained("vanilla"), "x", place)
    assert shown.notice() == ""
    place.rename(tmp_path / "aside")
    place.write_text("other weights")
    assert "has been written anew" in shown.notice()
    place.unlink()
    assert f"{place} has been deleted or moved" in shown.notice()
    shown.grid(0, 4, Looks())  # and goes on


def test_what_is_under_way_ends_with_the_page(styled: Shown, tmp_path: Path) -> None:
    shown = Shown(styled.model, "x")
    file, steps = picture(tmp_path / "p.png"), []

    def track(numbers: range) -> Any:
        for number in numbers:
            steps.append(number)
            if number == 3:
                shown.ending.set()
            yield number

    with pytest.raises(ValueError, match="the page has been ended"):
        shown.found(file, part="centre", steps=1000, plus=False, track=track)
    assert steps == [0, 1, 2, 3]


def test_several_at_once_get_what_one_gets(tmp_path: Path) -> None:
    styled, enlarger = Shown(untrained("stylegan_lite"), "x"), Shown(untrained("srgan"), "y")
    classes, scorer = Shown(untrained("cgan"), "z"), Shown(untrained("f_anogan"), "s")
    file = picture(tmp_path / "p.png")
    acts = [
        lambda: bytes_of(styled.grid(0, 9, Looks(psi=0.7))),
        lambda: bytes_of(styled.moved(1, [1.0, *[0.0] * 5], "fine", Looks())),
        lambda: bytes_of(styled.found(file, part="centre", steps=5, plus=True)[1]),
        lambda: bytes_of(classes.walk(0, 1, 0.3, Looks(4))),
        lambda: bytes_of(enlarger.enlarged(file)[0][1]),
        lambda: bytes_of(scorer.scored(file)[1]),
    ]
    alone = [act() for act in acts]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(3):
            assert [one.result() for one in [pool.submit(act) for act in acts]] == alone
