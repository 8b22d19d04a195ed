"""Parts of photographs: cut out upright, pasted with soft masks; and the encoder that inverts a generator."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from common import needs
from safetensors.torch import save_file
from test_styles import NUM_WS, SIDE, W_DIM, LinearStyles
from torch import Tensor

from zoo.batch import from_bytes
from zoo.data.reading import read_picture
from zoo.use import encoder, retouch, styles
from zoo.use.encoder import Encoder
from zoo.use.retouch import Frame, cut, paste


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def smooth(height: int, width: int) -> Tensor:
    """A photograph [1, 3, H, W] that resampling hardly changes."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([(x / 40).sin(), (y / 30).cos(), ((x + y) / 50).sin()])[None] * 0.8


def test_a_box_is_cut_to_the_pixel_and_pasted_back() -> None:
    photograph = noise(1, 3, 30, 40)
    frame = Frame.of_box((5, 8, 12, 10), (30, 40), (10, 12))
    part = cut(photograph, frame, (10, 12))
    assert torch.allclose(part, photograph[:, :, 8:18, 5:17], atol=1e-5)
    assert torch.allclose(paste(photograph, frame, part, part, feather=0), photograph, atol=1e-5)
    white = paste(photograph, frame, torch.ones_like(part), part, feather=0)
    assert torch.allclose(white[:, :, 8:18, 5:17], torch.ones(()))
    white[:, :, 8:18, 5:17] = photograph[:, :, 8:18, 5:17]
    assert torch.equal(white, photograph)  # nothing else has changed
    # Of another proportion: the middle of the box, as large as fits.
    assert Frame.of_box((0, 0, 40, 30), (30, 40), (8, 8)) == Frame(20, 15, 30, 30)
    assert Frame.whole((30, 40), (8, 8)) == Frame(20, 15, 30, 30)


def test_weights_fall_smoothly_to_the_edge() -> None:
    black, frame = -torch.ones(1, 1, 40, 40), Frame(20, 20, 20, 20)
    one = torch.ones(1, 1, 20, 20)
    line = (paste(black, frame, one, -one, feather=0.5)[0, 0, 20] + 1) / 2  # the middle row
    distance = 1 - (torch.arange(40) + 0.5 - 20).abs() / 10
    ramp = (distance / 0.5).clamp(0, 1)
    across = 1 - 0.5 / 10  # of the row itself: far enough from the frame's edges
    assert across > 0.5
    assert torch.allclose(line, ramp**2 * (3 - 2 * ramp), atol=1e-5)
    assert line[:10].eq(0).all()
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., :20] = 0.5
    masked = (paste(black, frame, one, -one, feather=0.5, mask=mask)[0, 0, 20] + 1) / 2
    assert torch.allclose(masked, line * mask[0, 0, 20], atol=1e-5)


def test_a_change_leaves_what_the_model_did_not_find() -> None:
    photograph, frame = noise(1, 4, 32, 32) * 0.5, Frame(16, 16, 16, 16)
    before = noise(1, 3, 8, 8, seed=1) * 0.1
    assert torch.equal(paste(photograph, frame, before, before, how="change"), photograph)
    brighter = paste(photograph, frame, before + 0.25, before, how="change", feather=0)
    assert torch.allclose(brighter[:, :3, 8:24, 8:24], photograph[:, :3, 8:24, 8:24] + 0.25, atol=1e-6)
    assert torch.equal(brighter[:, 3], photograph[:, 3])  # transparency stays
    grey = paste(photograph, frame, before[:, :1] + 0.25, before[:, :1], how="change", feather=0)
    assert torch.allclose(grey, brighter, atol=1e-6)  # a grey model changes the lightness of a photograph in colours


@pytest.mark.parametrize("channels", [1, 2])
def test_into_a_grey_photograph_goes_the_luma_of_colours(channels: int) -> None:
    photograph, frame = noise(1, channels, 32, 32) * 0.5, Frame(16, 16, 16, 16)
    blue = torch.tensor([-1.0, -1.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    pasted = paste(photograph, frame, blue, blue, feather=0)
    assert torch.allclose(pasted[:, :1, 8:24, 8:24], torch.tensor(0.114 * 2 - 1), atol=1e-6)
    assert torch.equal(pasted[:, 1:], photograph[:, 1:])  # transparency stays


def test_a_face_becomes_level_at_the_size_that_the_papers_give_it() -> None:
    frame = Frame.of_face((40, 50, 60, 50), (200, 200), (64, 64))
    down = 20 * 4 / 3.6
    assert (frame.x, frame.y, frame.angle) == pytest.approx((50, 50 + 0.1 * down, 0))
    assert frame.width == frame.height == pytest.approx(80)
    with_mouth = Frame.of_face((40, 50, 60, 50, 50, 80), (200, 200), (64, 64))
    assert (with_mouth.y, with_mouth.width) == pytest.approx((53, 108))
    # The same face in a photograph that is turned: the same cut.
    for degrees in (-35, 20, 90):
        angle = math.radians(degrees)
        turned = [
            (60 + math.cos(angle) * (x - 60) - math.sin(angle) * (y - 60),
             60 + math.sin(angle) * (x - 60) + math.cos(angle) * (y - 60))
            for x, y in ((50, 55), (70, 55), (60, 75))
        ]  # fmt: skip
        found = Frame.of_face([number for point in turned for number in point], (120, 120), (32, 32))
        assert found.angle == pytest.approx(angle)
        photograph = torch.zeros(1, 1, 120, 120)
        for x, y in turned[:2]:
            photograph[0, 0, round(y - 1.5) : round(y + 1.5), round(x - 1.5) : round(x + 1.5)] = 1
        part = cut(photograph, found, (32, 32))[0, 0]
        rows, columns = (part > 0.2).nonzero().double().T
        upper = rows.mean()
        assert rows.max() - rows.min() <= 3, degrees  # the eyes are level
        assert columns.max() - columns.min() == pytest.approx(32 / 4, abs=3)  # a quarter of the frame apart
        assert 8 < upper < 17


@pytest.mark.parametrize("angle", [0.0, 0.3, -1.2])
def test_what_is_cut_and_pasted_is_what_was_there(angle: float) -> None:
    photograph = smooth(90, 110)
    frame = Frame(56.3, 44.7, 50, 40, angle)
    part = cut(photograph, frame, (40, 50))
    again = paste(photograph, frame, part, part, feather=0.2)
    assert (again - photograph).abs().max() < 0.02
    assert torch.equal(again[:, :, :10], photograph[:, :, :10])
    # A frame that reaches over the edge: the edge's pixels repeat, and what is there is pasted.
    over = Frame(5, 5, 40, 40, angle)
    part = cut(photograph, over, (40, 40))
    assert (paste(photograph, over, part, part) - photograph).abs().max() < 0.05


def test_without_its_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retouch, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"not installed here: pip install 'gan-zoo\[faces\]', or give its eyes"):
        retouch.find_face(noise(1, 3, 99, 99), (32, 32))


def test_the_face_of_an_astronaut_is_found() -> None:
    needs("skimage")
    photograph = from_bytes(torch.from_numpy(read_picture("astronaut", 3))[None])
    frame = retouch.find_face(photograph[..., :300, 50:400], (32, 32))
    assert abs(frame.x - (225 - 50)) < 25
    assert abs(frame.y - 115) < 25
    assert 120 < frame.width < 260
    with pytest.raises(ValueError, match="--face finds no upright face from the front: give its eyes"):
        retouch.find_face(photograph[..., 350:450, :100], (32, 32))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Frame.of_box((0, 0, 0, 5), (9, 9), (4, 4)), "--box=0,0,0,5 has no area"),
        (lambda: Frame.of_box((5, 0, 5, 5), (9, 9), (4, 4)), "--box=5,0,5,5 is not within the photograph of 9x9"),
        (lambda: Frame.of_face((3, 3, 3, 3), (9, 9), (4, 4)), "--eyes has both at one place"),
        (
            lambda: Frame(5, 5, 8, 8).check((16, 16)),
            "has 8x8 pixels, fewer than the 16x16 of this model: give a larger",
        ),
        (lambda: retouch.numbers("1,2", "--box", [4]), "--box=1,2 must be 4 numbers"),
        (lambda: retouch.numbers("1,2,x,4", "--eyes", [4, 6]), "--eyes=1,2,x,4 must be 4 or 6 numbers"),
        (lambda: retouch.numbers("1,2,inf,4", "--box", [4]), "must be 4 numbers"),
    ],
)
def test_what_makes_no_sense_is_named(wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()


# The encoder ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained() -> Encoder:
    return encoder.train(LinearStyles(), steps=250, width=8)


@pytest.mark.slow
def test_an_encoder_finds_styles_and_a_search_goes_on_from_there(trained: Encoder) -> None:
    model = LinearStyles()
    explained, psnr = encoder.quality(model, trained)
    untrained = encoder.train(model, steps=0, width=8)
    assert explained > 0.7
    assert explained > encoder.quality(model, untrained)[0] + 0.3
    assert psnr > encoder.quality(model, untrained)[1] + 3
    ws = styles.of_seeds(model, [12345])
    image = styles.render(model, ws)
    start = encoder.invert(trained, image, NUM_WS)
    assert start.shape == (1, NUM_WS, W_DIM)
    at_once = styles.project(model, image, steps=0, start=start)
    assert torch.equal(at_once.ws, start)  # no step, no change
    further = styles.project(model, image, steps=60, start=start)
    assert further.distance < at_once.distance < at_once.start
    assert further.distance < styles.project(model, image, steps=60).distance  # than from the mean
    plus = styles.project(model, image, steps=60, start=start, plus=True)
    assert not torch.equal(plus.ws[:, 0], plus.ws[:, 1])


@pytest.mark.slow
def test_an_encoder_is_the_same_for_a_seed_and_learns_from_real_images(trained: Encoder) -> None:
    model = LinearStyles()
    one, same, other = (encoder.train(model, steps=3, width=8, seed=seed) for seed in (0, 0, 1))
    of = lambda network: torch.cat([tensor.flatten() for tensor in network.state_dict().values()])
    assert torch.equal(of(one), of(same))
    assert not torch.equal(of(one), of(other))
    # Real images lie where the model's own are rare: three standard deviations out.
    far = LinearStyles()
    w = 3 * torch.randn(400, W_DIM, generator=torch.Generator().manual_seed(5))
    images = far.from_styles(w[:, None].expand(-1, NUM_WS, -1)).detach()
    real = ((images + 1) * 127.5).round().to(torch.uint8)
    taught = encoder.train(model, steps=250, width=8, images=real[:300])

    def error(network: Encoder) -> float:
        again = model.from_styles(encoder.invert(network, images[300:], NUM_WS))
        return float((again - images[300:]).square().mean())

    assert error(taught) < 0.8 * error(trained)
    with pytest.raises(ValueError, match=r"the images are \[1, 4, 4\], and this model makes \[1, 8, 8\]"):
        encoder.train(model, steps=1, images=real[:, :, :4, :4])


def test_an_encoders_file_is_data_and_of_one_model(trained: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    trained.save(path)
    again = Encoder.load(path, (1, SIDE, SIDE), W_DIM)
    image = noise(2, 1, SIDE, SIDE)
    assert torch.equal(again(image), trained(image))
    with pytest.raises(
        ValueError, match=r"is of a model with images of \[1, 8, 8\] .* this one has \[3, 16, 16\] and 8"
    ):
        Encoder.load(path, (3, 16, 16), W_DIM)
    with pytest.raises(ValueError, match="does not exist: make it, zoo encoder RUN"):
        Encoder.load(tmp_path / "none", (1, 8, 8), W_DIM)
    (tmp_path / "bytes").write_bytes(b"no tensors at all")
    with pytest.raises(ValueError, match="bytes can't be read"):
        Encoder.load(tmp_path / "bytes", (1, 8, 8), W_DIM)
    for metadata, message in (
        (None, "has other content"),
        ({"encoder": "["}, "can't be read"),
        ({"encoder": "[1]"}, "can't be read"),
        ({"encoder": '{"shape": [1, 8, 8], "w_dim": 8, "width": 1000000000}'}, "has no width"),
        ({"encoder": '{"shape": [1, 8, 8], "w_dim": 8, "width": 8}'}, "has other weights"),
    ):
        save_file({"a": torch.ones(1)}, path, metadata)
        with pytest.raises(ValueError, match=message):
            Encoder.load(path, (1, SIDE, SIDE), W_DIM)


def test_two_groups_give_the_direction_between_them() -> None:
    model = LinearStyles()
    w = styles.spread(model, 200)
    axis = torch.zeros(W_DIM)
    axis[2] = 1
    directions, learned = styles.between(model, [w[:100] - 3 * axis, w[100:] + 3 * axis], ["young", "old"])
    assert directions.names == ["young to old"]
    assert float(directions.vectors[0] @ axis) > 0.98
    one = learned["young to old"]
    assert one.accuracy is not None
    assert one.accuracy > 0.95
    with pytest.raises(ValueError, match="8 images in the two groups are too few to learn a direction"):
        styles.between(model, [w[:4], w[4:8]], ["a", "b"])
    with pytest.raises(
        ValueError, match=r"1 and 12 images in the two groups, without and with .*: give 5 or more of each"
    ):
        styles.between(model, [w[:1], w[1:13]], ["a", "b"])


def test_a_fifth_of_each_class_is_held_out() -> None:
    """So that no direction is learnt, nor judged, of one class alone."""
    w = torch.randn(55, 8, generator=torch.Generator().manual_seed(0))
    w[:5, 3] += 9
    for seed in range(20):
        one = styles.learn(w, (torch.arange(55) < 5).float(), seed=seed)
        assert one.vector.norm() == pytest.approx(1)
        assert one.chance == pytest.approx(10 / 11)
        assert one.accuracy is not None
        assert one.accuracy > 0.9
