"""Latent spaces against closed forms, on a linear generator whose answers are known."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from zoo.use import styles

NUM_WS, W_DIM, SIDE = 6, 8, 8


class LinearStyles:
    """w = spread * z of the seed; the image is the sum of one linear map of each layer's w, in [-1, 1] by tanh."""

    def __init__(self, spread: Tensor | None = None) -> None:
        generator = torch.Generator().manual_seed(0)
        self.spread = torch.ones(W_DIM) if spread is None else spread
        self.maps = torch.randn(NUM_WS, W_DIM, SIDE * SIDE, generator=generator) * 0.1

    def styles(self, seeds: list[int], labels: Any = None) -> Tensor:
        z = torch.stack([torch.randn(W_DIM, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        w = z * self.spread + (0 if labels is None else torch.tensor(labels)[:, None])
        return w[:, None].expand(-1, NUM_WS, -1)

    def from_styles(self, ws: Tensor, noise: str = "fixed") -> Tensor:
        return torch.einsum("nlw,lwp->np", ws, self.maps).tanh().view(-1, 1, SIDE, SIDE)


@pytest.fixture
def model() -> LinearStyles:
    return LinearStyles()


def test_numbers_and_ranges() -> None:
    assert styles.ranges("0-3,12, 7", "--seeds") == [0, 1, 2, 3, 12, 7]
    assert styles.ranges("5", "--seeds") == [5]
    for text, message in (
        ("a", "--seeds=a: 'a' is no number or range"),
        ("1,,2", "'nothing' is no number"),
        ("-3", "'-3' is no number"),
        ("3-1", "3-1 runs backwards: give 1-3"),
        ("0-2000000", "a million at a time"),
        ("9999999999999999999", "below 2**62"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            styles.ranges(text, "--seeds")


@pytest.mark.parametrize("num_ws", [6, 8, 10, 18])
def test_bands_are_all_layers_in_order(num_ws: int) -> None:
    bands = [styles.layers(band, num_ws) for band in styles.BANDS]
    assert [layer for band in bands for layer in band] == styles.layers("all", num_ws) == list(range(num_ws))
    assert max(map(len, bands)) - min(map(len, bands)) <= 1
    assert styles.layers("2-4", num_ws) == [2, 3, 4]
    for text in ("rough", "2-", str(num_ws)):
        with pytest.raises(ValueError, match=f"--layers={text}"):
            styles.layers(text, num_ws)


@pytest.mark.parametrize("between", [styles.lerp, styles.slerp])
def test_a_walk_meets_its_keys_and_a_loop_closes(between: Any) -> None:
    keys = torch.randn(4, 16, generator=torch.Generator().manual_seed(1))
    path = styles.walk(keys, 5, loop=False, between=between)
    assert len(path) == 3 * 5 + 1
    assert torch.allclose(path[::5], keys, atol=1e-6)
    loop = styles.walk(keys, 5, loop=True, between=between)
    assert len(loop) == 4 * 5
    assert torch.allclose(loop[::5], keys, atol=1e-6)
    assert torch.allclose(loop[-1], between(keys[3], keys[0], 0.8))  # one step before the first frame
    with pytest.raises(ValueError, match="two seeds or more"):
        styles.walk(keys[:1], 5, loop=True, between=between)


def test_slerp_walks_the_circle_at_constant_speed() -> None:
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    for t in (0.25, 0.5, 0.9):
        expected = torch.tensor([2 * math.cos(t * math.pi / 2), 2 * math.sin(t * math.pi / 2)])
        assert torch.allclose(styles.slerp(a, b, t), expected, atol=1e-6)
    assert torch.equal(styles.slerp(a, a, 0.3), a)  # no circle to go along
    assert styles.slerp(a, -a, 0.3).isfinite().all()


def test_mixtures_of_all_and_of_no_layers_are_the_sources(model: LinearStyles) -> None:
    rows, columns = model.styles([0, 1, 2]), model.styles([7, 8])
    assert torch.equal(styles.mix(rows, columns, range(NUM_WS)), columns[None].expand(3, -1, -1, -1))
    assert torch.equal(styles.mix(rows, columns, []), rows[:, None].expand(-1, 2, -1, -1))
    mixed = styles.mix(rows, columns, [1, 4])
    for layer in range(NUM_WS):
        source = columns[None].expand(3, -1, -1, -1) if layer in (1, 4) else rows[:, None].expand(-1, 2, -1, -1)
        assert torch.equal(mixed[:, :, layer], source[:, :, layer])


def test_principal_directions_are_the_axes_along_which_w_spreads() -> None:
    spread = torch.tensor([1.0, 5.0, 0.1, 3.0, 0.2, 0.3, 0.1, 0.4])
    w = styles.spread(LinearStyles(spread), 2000)
    result = styles.Directions.of(["a", "b"], styles.principal((w - w.mean(0)).double(), 2), w)
    assert result.vectors[:, [1, 3]].diagonal().tolist() == pytest.approx([1, 1], abs=0.01)
    assert result.sigmas.tolist() == pytest.approx([5, 3], rel=0.05)


def test_factorisation_is_the_top_eigenvectors() -> None:
    weights = [torch.randn(c, W_DIM, generator=torch.Generator().manual_seed(c)) for c in (5, 9)]
    result = styles.principal(torch.cat(weights).double(), 3)
    gram = sum(weight.T @ weight for weight in weights)
    values = torch.linalg.eigvalsh(gram).flip(0)
    assert torch.allclose(result @ gram, values[:3, None] * result, atol=1e-4)
    assert torch.allclose(result @ result.T, torch.eye(3), atol=1e-5)
    assert (result.gather(1, result.abs().argmax(1, keepdim=True)) > 0).all()


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_a_planted_attribute_is_found(noise: float) -> None:
    w = styles.spread(LinearStyles(), 1000)
    axis = torch.nn.functional.normalize(torch.arange(1.0, W_DIM + 1), dim=0)
    values = w @ axis * 3 + 7 + noise * torch.randn(1000, generator=torch.Generator().manual_seed(2))
    learned = styles.learn(w, values)
    assert float(learned.vector @ axis) > 0.995
    assert learned.correlation == pytest.approx(3 / math.hypot(3, noise), abs=0.02)  # the best that can be
    assert learned.accuracy is None
    of_two = styles.learn(w, (values > 7).float())
    assert float(of_two.vector @ axis) > 0.97
    assert of_two.accuracy is not None
    assert of_two.accuracy > 0.8  # at best 1 - atan(noise / 3) / pi, 0.90
    assert of_two.chance == pytest.approx(0.5, abs=0.1)


def test_labels_without_reason_are_not_predicted() -> None:
    w = styles.spread(LinearStyles(), 400)
    learned = styles.learn(w, torch.rand(400, generator=torch.Generator().manual_seed(3)))
    assert abs(learned.correlation) < 0.25
    for values, message in ((torch.zeros(5), "too few"), (torch.zeros(50), "both sides")):
        with pytest.raises(ValueError, match=message):
            styles.learn(w[: len(values)], values)


def test_which_of_several_labels_is_too_few_is_said() -> None:
    few = (torch.arange(20) < 3).float()
    with pytest.raises(ValueError, match="3 seeds with a value of glasses, without"):
        styles.learn_all(LinearStyles(), range(20), {"size": torch.arange(20.0), "glasses": few})
    with pytest.raises(ValueError, match="all 20 seeds with a value of hat have the same one"):
        styles.learn_all(LinearStyles(), range(20), {"size": torch.arange(20.0), "hat": torch.ones(20)})


def test_fewer_labels_than_dimensions() -> None:
    w = torch.randn(40, 200, generator=torch.Generator().manual_seed(4))
    learned = styles.learn(w, w[:, 0])
    assert learned.vector[0] == learned.vector.abs().max()


@pytest.mark.parametrize("plus", [False, True])
def test_projection_finds_an_image_that_the_model_made(model: LinearStyles, plus: bool) -> None:
    image = model.from_styles(model.styles([123]))
    result = styles.project(model, image, steps=300, plus=plus)  # type: ignore[arg-type]
    assert result.distance < result.start / 1000
    assert result.psnr > 35
    assert torch.equal(model.from_styles(result.ws), result.image)
    assert (result.ws == result.ws[:, :1]).all() == (not plus)


def test_projection_by_activations(model: LinearStyles) -> None:
    image = model.from_styles(model.styles([5]))
    result = styles.project(model, image, steps=200, activations=lambda x: [x, x.flatten(1)])  # type: ignore[arg-type]
    assert result.distance < result.start / 100


def test_projection_refuses_another_size(model: LinearStyles) -> None:
    with pytest.raises(ValueError, match=re.escape("[1, 1, 9, 9], and this model makes [1, 1, 8, 8]")):
        styles.project(model, torch.zeros(1, 1, 9, 9), steps=1)  # type: ignore[arg-type]


def test_perceptual_distance_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = ([torch.randn(2, 3, 4, 5, generator=generator), torch.randn(2, 6, generator=generator)] for _ in range(2))
    unit = lambda v: v / v.norm()
    for n in range(2):
        places = [(y, x) for y in range(4) for x in range(5)]
        of_maps = sum(float((unit(a[0][n, :, y, x]) - unit(b[0][n, :, y, x])).square().sum()) for y, x in places) / 20
        of_vector = float((unit(a[1][n]) - unit(b[1][n])).square().sum())
        assert float(styles.perceptual(a, b)[n]) == pytest.approx((of_maps + of_vector) / 2, rel=1e-5)


def test_an_edit_of_strength_0_is_the_identity_and_another_moves_its_layers(model: LinearStyles) -> None:
    ws, direction = model.styles([0, 1]), torch.randn(W_DIM)
    assert torch.equal(styles.edit(ws, direction, 0), ws)
    moved = styles.edit(ws, direction, -2.5, [0, 3])
    assert torch.equal(moved[:, [1, 2, 4, 5]], ws[:, [1, 2, 4, 5]])
    assert torch.allclose(moved[:, [0, 3]] - ws[:, [0, 3]], -2.5 * direction.expand(2, 2, -1), atol=1e-6)


def stroke(width: int, lean: float = 0.0) -> Tensor:
    """A bar of that width on 32x32 pixels, light on dark, its top `lean` pixels to the right for each row."""
    image = torch.full((1, 1, 32, 32), -1.0)
    for y in range(4, 28):
        x = round(16 + lean * (16 - y) - width / 2)
        image[0, 0, y, x : x + width] = 1
    return image


def test_measured_attributes_of_bars() -> None:
    assert styles.thickness(stroke(4)).item() == pytest.approx(2 * 4 * 24 / (2 * (4 + 24)), rel=0.02)
    assert styles.thickness(torch.cat([stroke(w) for w in (2, 3, 5)])).diff().min() > 0.5
    assert torch.allclose(styles.thickness(-stroke(4)), styles.thickness(stroke(4)))  # ink is dark where paper is light
    assert torch.allclose(styles.thickness(stroke(4).clamp(min=-0.6)), styles.thickness(stroke(4)))  # nor is haze ink
    for lean in (-0.5, 0.0, 0.5):
        assert styles.slant(stroke(3, lean)).item() == pytest.approx(lean, abs=0.03)
    assert styles.brightness(stroke(4)).item() == pytest.approx(4 * 24 / 32**2)


def test_measuring_asks_for_every_seed_once(model: LinearStyles) -> None:
    seen: list[int] = []
    track = lambda starts: (seen.append(start) or start for start in starts)  # type: ignore[func-returns-value]
    values = styles.measured(model, range(150), {"brightness": styles.brightness}, track=track)
    expected = styles.brightness(model.from_styles(model.styles(list(range(150)))))
    assert torch.allclose(values["brightness"], expected)
    assert seen == [0, 64, 128]


def test_labels_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "smile.csv"
    path.write_text("seed,label\n3,yes\n\n4,no\n5, yes\n")
    seeds, values = styles.read_labels(path)
    assert seeds == [3, 4, 5]
    assert {name: value.tolist() for name, value in values.items()} == {"yes": [1, 0, 1]}
    path.write_text("3,red\n4,green\n5,blue\n")
    assert styles.read_labels(path)[1].keys() == {"blue", "green", "red"}
    assert styles.read_labels(path, ["red"])[1]["red"].tolist() == [1, 0, 0]
    path.write_text("3,0.5\n4,1\n")
    assert styles.read_labels(path)[1]["smile"].tolist() == [0.5, 1]
    assert styles.read_labels(path, ["age"])[1]["age"].tolist() == [0.5, 1]
    path.write_text("3,a\n4,b\n")
    with pytest.raises(ValueError, match="--attribute=c is no label"):
        styles.read_labels(path, ["c"])
    path.write_text("seed,label\n3,a\nx,b\n")
    with pytest.raises(ValueError, match=r"line 3: 'x,b' is not a seed and its label"):
        styles.read_labels(path)


def test_files_round_trip_and_refuse_others(tmp_path: Path, model: LinearStyles) -> None:
    w = styles.spread(model, 100)
    made = styles.Directions.of(["smile", "age"], torch.eye(W_DIM)[:2], w, method="ridge")
    made.save(tmp_path / "d.safetensors")
    name, vector = styles.named_direction(f"{tmp_path / 'd.safetensors'}:age")
    assert name == "age"
    assert torch.equal(vector, made["age"])
    assert styles.named_direction(f"{tmp_path / 'd.safetensors'}:1")[0] == "age"
    assert styles.named_direction(str(tmp_path / "d.safetensors"))[0] == "smile"
    styles.save_styles(model.styles([3]), tmp_path / "s.safetensors", image="a.png")
    assert torch.equal(styles.load_styles(tmp_path / "s.safetensors"), model.styles([3]))
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    for text, message in (
        ("d.safetensors:agee", "there is no direction agee: choose from smile, age"),
        ("s.safetensors", "has other content"),
        ("broken.safetensors", "can't be read"),
        ("none.safetensors:2", "does not exist: make it with `zoo directions`"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            styles.named_direction(str(tmp_path / text))


@pytest.mark.parametrize("names", ["", "{}", "[1, 2]", '["a"]', "[" * 100_000, '"ab"', "null"])
def test_directions_whose_names_are_damaged(tmp_path: Path, names: str) -> None:
    tensors = {"vectors": torch.eye(W_DIM)[:2], "sigmas": torch.ones(2)}
    save_file(tensors, tmp_path / "d.safetensors", {"names": names})
    with pytest.raises(ValueError, match=r"d\.safetensors does not name its directions"):
        styles.named_direction(str(tmp_path / "d.safetensors"))


@pytest.mark.parametrize("damage", [torch.zeros(3), torch.zeros(0, W_DIM), torch.eye(2).int(), torch.eye(2) / 0])
def test_directions_that_are_none(tmp_path: Path, damage: Tensor) -> None:
    save_file({"vectors": damage, "sigmas": torch.ones(2)}, tmp_path / "d.safetensors", {"names": '["a", "b"]'})
    with pytest.raises(ValueError, match=r"d\.safetensors has other content"):
        styles.named_direction(str(tmp_path / "d.safetensors"))
    save_file({"ws": damage}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"w\.safetensors has other content"):
        styles.load_styles(tmp_path / "w.safetensors")
