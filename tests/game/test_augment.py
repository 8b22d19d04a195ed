"""Augmentations: each against an independent computation, their draws, their gradient, and the steering of p."""

import inspect
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from common import same
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.functional import grid_sample
from torchvision.transforms.v2.functional import erase

from zoo.game.augment import Augment, _Sampled, cut, recolour, rotation, scaling, translate, translation, warp
from zoo.run.config import table

POLICIES = table("augment")
OFF, ADA, DIFF = (POLICIES[name] for name in ("none", "ada", "diffaugment"))
ON = {name: (DIFF if DIFF[name] else ADA)[name] for name in list(OFF)[4:]}  # every transformation


def augment(**keys: Any) -> Augment:
    return Augment(**{**OFF, "probability": 1.0, **keys})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(shape, generator=seeded(9), dtype=dtype) * 2 - 1


# Configuration ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none", "diffaugment", "ada"])
def test_configurations_have_all_keys_and_no_others(name: str) -> None:
    keys = POLICIES[name]
    parameters = inspect.signature(Augment).parameters
    assert keys.keys() == parameters.keys()
    assert all(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters.values())
    Augment(**keys)


@pytest.mark.parametrize(
    ("key", "value"),
    [("probability", 1.1), ("probability", -0.1), ("target", 1), ("speed", 0), ("interval", 0), ("scale", -0.2),
     ("cutout", 1.5), ("translation", 2.0)],
)  # fmt: skip
def test_values_outside_their_range_are_refused_by_name(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{key}={value}"):
        augment(**{key: value})


def test_off_gives_the_same_tensor_and_draws_nothing() -> None:
    x, generator = pictures(2, 3, 8, 8), seeded()
    assert Augment(**OFF)(x, generator) is x
    assert torch.equal(generator.get_state(), seeded().get_state())


# Each transformation, for given parameters --------------------------------------------------------------------------


def test_warp_is_exact_for_flips_quarter_turns_and_whole_pixels() -> None:
    x = pictures(4, 3, 8, 8)
    one, zero = torch.ones(4), torch.zeros(4)
    close = {"rtol": 0, "atol": 1e-5}
    torch.testing.assert_close(warp(x, torch.eye(3).expand(4, 3, 3)), x, **close)
    torch.testing.assert_close(warp(x, scaling(-one, one)), x.flip(3), **close)
    turned = torch.stack([torch.rot90(image, k, (1, 2)) for k, image in enumerate(x)])
    torch.testing.assert_close(warp(x, rotation(torch.arange(4) * (math.pi / 2))), turned, **close)
    moved = torch.cat([x[..., 2:], x[..., [7, 6]]], 3)  # from two pixels further right; beyond the edge, reflected
    torch.testing.assert_close(warp(x, translation(2 * one, zero)), moved, **close)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40)])
def test_warp_samples_a_smooth_function_where_it_is_told(height: int, width: int) -> None:
    def f(x: Tensor, y: Tensor) -> Tensor:
        return torch.cos(0.35 * x - 0.25 * y + 1) + 0.5 * torch.sin(0.3 * y)

    y, x = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
    origins = torch.tensor([[[0.8, -0.3, 1.7], [0.2, 1.1, -2.4], [0, 0, 1]]])
    from_x = 0.8 * x - 0.3 * y + 1.7
    from_y = 0.2 * x + 1.1 * y - 2.4
    inside = (from_x.abs() < width / 2 - 2) & (from_y.abs() < height / 2 - 2)
    result = warp(f(x, y)[None, None], origins)[0, 0]
    assert inside.float().mean() > 0.5
    torch.testing.assert_close(result[inside], f(from_x, from_y)[inside], rtol=0, atol=0.02)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_recolour_is_the_papers_chain_of_matrices(channels: int) -> None:
    """Brightness, contrast, luma flip, hue, saturation one after the other; hue's rotation by matrix exponential."""
    x = pictures(2, channels, 4, 5, dtype=torch.float64)
    b, c, theta, s = (torch.tensor(v, dtype=torch.float64) for v in ([0.3, -0.2], [1.4, 0.6], [0.7, -2.0], [0.5, 1.8]))
    sign = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    result = recolour(x, grey=sign * c, shift=sign * c * b, chroma=c * s, hue=theta)
    v = torch.full((channels, 1), channels**-0.5, dtype=torch.float64)
    eye = torch.eye(channels, dtype=torch.float64)
    for n in range(2):
        pixel = c[n] * (x[n].flatten(1) + b[n])
        if sign[n] < 0:
            pixel = (eye - 2 * v @ v.T) @ pixel
        if channels == 3:
            cross = torch.linalg.cross(v.T.expand(3, 3), eye).T  # its columns: v x e_i
            pixel = torch.matrix_exp(theta[n] * cross) @ pixel
        pixel = (v @ v.T + (eye - v @ v.T) * s[n]) @ pixel
        torch.testing.assert_close(result[n], pixel.view_as(x[n]))


def test_translate_moves_right_and_down_and_zeros_move_in() -> None:
    x = pictures(3, 2, 6, 5)
    result = translate(x, torch.tensor([[1.0, -2.0, 0.0], [3.0, 0.0, -6.0]]))
    expected = torch.zeros_like(x)
    expected[0, :, 3:, 1:] = x[0, :, :-3, :-1]
    expected[1, :, :, :-2] = x[1, :, :, 2:]
    assert torch.equal(result, expected)


def test_cut_erases_a_rectangle() -> None:
    x = pictures(3, 2, 7, 6) + 3
    result = cut(x, torch.tensor([[1.0, -2.0, 6.0], [2.0, 5.0, 7.0]]), torch.tensor([[3.0], [4.0]]))
    zero = torch.zeros(())
    assert torch.equal(result[0], erase(x[0], i=2, j=1, h=4, w=3, v=zero))
    assert torch.equal(result[1], erase(x[1], i=5, j=0, h=2, w=1, v=zero))
    assert torch.equal(result[2], x[2])


# What is drawn ------------------------------------------------------------------------------------------------------


def origins(size: int = 16, n: int = 4000, **keys: Any) -> tuple[Tensor, Tensor]:
    """The affine maps that T draws: A [n, 2, 2] and t [n, 2], read off images whose channels are their coordinates."""
    line = torch.arange(size) - (size - 1) / 2
    x = torch.stack(torch.meshgrid(line, line, indexing="xy")).expand(n, 2, size, size)
    m = size // 2
    out = augment(**keys)(x, seeded())[:, :, m - 1 : m + 1, m - 1 : m + 1]
    return torch.stack([(out[..., 1] - out[..., 0]).mean(2), (out[:, :, 1] - out[:, :, 0]).mean(2)], 2), out.mean(
        (2, 3)
    )


def eye(scale: Tensor) -> Tensor:
    return torch.eye(2) * scale[:, None, None]


def test_geometry_is_drawn_as_in_the_paper() -> None:
    A, t = origins(scale=0.2)
    s = A.det().rsqrt()
    torch.testing.assert_close(A, eye(1 / s), rtol=0, atol=1e-4)
    assert s.log2().mean().abs() < 0.01
    assert s.log2().std() == pytest.approx(0.2, rel=0.05)
    assert t.abs().max() < 1e-4

    A, _ = origins(anisotropy=0.2)
    torch.testing.assert_close(A.det(), torch.ones(4000), rtol=0, atol=1e-4)
    assert A[:, 0, 1].abs().max() < 1e-4
    assert A[:, 1, 1].log2().std() == pytest.approx(0.2, rel=0.05)  # width times a, height divided by a

    A, _ = origins(rotation=30, anisotropy=0)
    torch.testing.assert_close(A @ A.mT, eye(torch.ones(4000)), rtol=0, atol=1e-4)
    angle = torch.atan2(A[:, 1, 0], A[:, 0, 0]).rad2deg()  # the sum of two uniform ones
    assert 55 < angle.abs().max() <= 60
    assert angle.std() == pytest.approx(30 * math.sqrt(2 / 3), rel=0.05)

    _, t = origins(fractional_translation=0.0625)
    assert t.std(0).tolist() == pytest.approx([1, 1], rel=0.05)
    _, t = origins(integer_translation=0.125)
    assert {tuple(pair) for pair in t.round(decimals=3).add(0.0).tolist()} == {
        (x, y) for x in range(-2, 3) for y in range(-2, 3)
    }


def test_ada_colours_are_drawn_as_in_the_paper() -> None:
    """Read off images of four pixels: black, and one unit in each channel."""
    x = torch.cat([torch.zeros(3, 1), torch.eye(3)], 1).view(1, 3, 2, 2).expand(4000, 3, 2, 2)

    def drawn(**keys: float) -> tuple[Tensor, Tensor]:
        out = augment(**keys)(x, seeded()).flatten(2)
        return out[:, :, 1:] - out[:, :, :1], out[:, :, 0]

    matrix, shift = drawn(brightness=0.2)
    torch.testing.assert_close(matrix, torch.eye(3).expand(4000, 3, 3), rtol=0, atol=1e-5)
    assert shift[:, 0].std() == pytest.approx(0.2, rel=0.05)
    matrix, _ = drawn(contrast=0.5)
    assert matrix[:, 0, 0].log2().std() == pytest.approx(0.5, rel=0.05)
    matrix, _ = drawn(saturation=1.0)
    assert (matrix[:, 0, 0] - matrix[:, 0, 1]).log2().std() == pytest.approx(1.0, rel=0.05)
    matrix, _ = drawn(hue=90)
    angle = torch.acos((matrix.diagonal(dim1=1, dim2=2).sum(1).clamp(0, 3) - 1) / 2).rad2deg()  # of a rotation matrix
    assert 88 < angle.max() < 90.1
    assert angle.mean() == pytest.approx(45, rel=0.05)
    torch.testing.assert_close(matrix.sum(2), torch.ones(4000, 3))  # grey stays
    matrix, _ = drawn(luma_flip=True)
    negative = matrix.det() < 0
    assert negative.float().mean() == pytest.approx(0.5, abs=0.03)
    torch.testing.assert_close(matrix[negative][0], torch.eye(3) - 2 / 3)


def test_diffaugment_has_the_ranges_of_its_authors() -> None:
    n = 4000
    grey = torch.zeros(n, 3, 8, 8)
    grey[:, :, :4], grey[:, :, 4:] = 0.6, -0.2
    out = augment(color=0.5)(grey, seeded())
    brightness, contrast = out.mean((1, 2, 3)) - 0.2, (out[:, 0, 0, 0] - out[:, 0, 7, 0]) / 0.8
    assert [brightness.min(), brightness.max()] == pytest.approx([-0.5, 0.5], abs=0.01)
    assert [contrast.min(), contrast.max()] == pytest.approx([0.5, 1.5], abs=0.01)
    coloured = torch.tensor([0.3, -0.3, 0.0])[:, None, None].expand(n, 3, 8, 8)
    out = augment(color=0.5)(coloured, seeded())
    saturation = (out[:, 0, 0, 0] - out[:, 1, 0, 0]) / 0.6 / contrast  # the same draws
    assert [saturation.min(), saturation.max()] == pytest.approx([0, 2], abs=0.02)

    line = torch.arange(1.0, 33)
    x = torch.stack(torch.meshgrid(line, line[:24], indexing="xy")).expand(n, 2, 24, 32)
    out = augment(translation=0.125)(x, seeded())
    assert {tuple(p) for p in (x - out)[:, :, 12, 16].tolist()} == {(a, b) for a in range(-4, 5) for b in range(-3, 4)}

    holes = augment(cutout=0.5)(torch.ones(n, 1, 24, 32), seeded()) == 0
    assert int(holes.sum((1, 2, 3)).max()) == 12 * 16
    assert holes.any(0).all()
    assert set(holes.any(2).sum(2).flatten().tolist()) == set(range(8, 17))  # centres in the image, edges included
    assert set(holes.any(3).sum(2).flatten().tolist()) == set(range(6, 13))


@pytest.mark.parametrize("name", ON)
def test_each_transformation_is_executed_with_probability_p(name: str) -> None:
    x = pictures(1, 3, 8, 8).expand(2000, 3, 8, 8)
    changed = (augment(probability=0.3, **{name: ON[name]})(x, seeded()) - x).abs().amax((1, 2, 3)) > 1e-4
    chance = {
        "flip": 1 / 2,
        "luma_flip": 1 / 2,
        "quarter_turn": 3 / 4,
        "integer_translation": 3 / 4,
        "translation": 8 / 9,
    }
    expected = 1 - 0.7**3 if name == "color" else 0.3 * chance.get(name, 1)  # color is three transformations
    assert changed.float().mean() == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 2000))
    assert not (augment(probability=0.0, **{name: ON[name]})(x, seeded()) - x).abs().max() > 1e-5


def test_what_does_not_leak_leaves_the_true_orientation_the_most_frequent() -> None:
    """ADA, section 2.2: quarter turns with p < 1 can be undone in distribution, with p = 1 no longer."""
    x = pictures(1, 1, 8, 8).expand(4000, 1, 8, 8)
    for p, shares in ((0.5, [0.625, 0.125, 0.125, 0.125]), (1.0, [0.25] * 4)):
        out = augment(probability=p, quarter_turn=True)(x, seeded())
        frequencies = [
            ((out - torch.rot90(x, k, (2, 3))).abs().amax((1, 2, 3)) < 1e-4).float().mean() for k in range(4)
        ]
        assert frequencies == pytest.approx(shares, abs=0.03)


def test_images_are_drawn_for_singly_from_the_generator_alone() -> None:
    x = pictures(1, 3, 16, 16).expand(64, 3, 16, 16)
    T, before = augment(**ON), torch.get_rng_state()
    first, second, other = T(x, seeded(1)), T(x, seeded(1)), T(x, seeded(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert len({tuple(image.flatten().tolist()) for image in first}) == 64
    assert torch.equal(before, torch.get_rng_state())
    generator = seeded(1)
    assert not torch.equal(T(x, generator), T(x, generator))


# What goes through --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_shape_dtype_and_layout_stay_and_the_images_are_not_written_to(channels: int, dtype: torch.dtype) -> None:
    T = augment(**ON)
    for layout in (torch.contiguous_format, torch.channels_last):
        x = pictures(3, channels, 10, 6, dtype=torch.float64).to(dtype).contiguous(memory_format=layout)
        copy = x.clone()
        out = T(x, seeded())
        assert out.shape == x.shape
        assert out.dtype == dtype
        assert out.is_contiguous(memory_format=layout)
        assert out.isfinite().all()
        assert torch.equal(x, copy)
        torch.testing.assert_close(
            out.double(), T(copy.double(), seeded()), rtol=0, atol=0.1 if dtype is torch.bfloat16 else 1e-3
        )


def test_under_autocast_it_computes_in_float32() -> None:
    x, T = pictures(4, 3, 8, 8), augment(**ON)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(T(x, seeded()), clean := T(x, seeded()))
    assert torch.equal(clean, T(x, seeded()))


def test_the_gradient_equals_finite_differences_and_so_does_its_gradient() -> None:
    """Gradient penalties may differentiate T twice."""
    T, x = augment(**ON), pictures(2, 3, 5, 4, dtype=torch.float64).requires_grad_()
    assert gradcheck(lambda x: T(x, seeded()), x)
    assert gradgradcheck(lambda x: T(x, seeded()), x, fast_mode=True)
    (gradient,) = torch.autograd.grad(T(x, seeded()).square().sum(), x)
    assert (gradient != 0).any()


# The steering of p --------------------------------------------------------------------------------------------------


def test_resampling_leaves_no_derivative_to_torch_that_its_oldest_version_lacks() -> None:
    """torch 2.11 has no derivative of grid_sample's derivative: with it, penalties through T would end in an error."""
    x, grid = pictures(2, 3, 9, 9), torch.rand(2, 5, 7, 2, generator=seeded()) * 3 - 1.5
    own, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, reference = _Sampled.apply(own, grid), grid_sample(theirs, grid, padding_mode="reflection", align_corners=True)
    weight = pictures(*out.shape).requires_grad_()
    (first,) = torch.autograd.grad((out * weight).sum(), own, create_graph=True)
    assert same(out, reference)
    assert same(first, torch.autograd.grad((reference * weight).sum(), theirs)[0])
    names, waiting = set(), [out.grad_fn, first.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None:
            names.add(node.name())
            waiting += [following for following, _ in node.next_functions]
    assert not [name for name in names if "GridSampler" in name]


def adaptive(**keys: Any) -> Augment:
    return Augment(**{**ADA, "speed": 1000, "interval": 100, **keys})


def share(correct: float) -> Tensor:
    return torch.tensor(correct)


def test_p_moves_by_images_over_speed_towards_the_target() -> None:
    T = adaptive()
    T.adapt(share(1.0), images=40)
    assert T.p.item() == 0  # the window is not full
    T.adapt(share(0.75), images=60)  # r_t = 0.4 * 1 + 0.6 * 0.5 = 0.7 > 0.6
    assert T.p.item() == pytest.approx(0.1)
    T.adapt(share(0.79), images=150)  # r_t = 0.58
    assert T.p.item() == 0  # 0.1 - 0.15, clamped
    for _ in range(11):
        T.adapt(share(1.0), images=100)
    assert T.p.item() == 1
    T.adapt(share(0.0), images=100)
    assert T.p.item() == pytest.approx(0.9)


def test_without_a_target_p_is_constant() -> None:
    T = augment(**{**ON, "probability": 0.4})
    T.adapt(share(1.0), images=1_000_000)
    assert T.p.item() == pytest.approx(0.4)


def test_it_resumes_within_a_window_bit_for_bit(tmp_path: Path) -> None:
    straight, T = adaptive(), adaptive()
    for part in (straight, T):
        part.adapt(share(0.9), images=100)
        part.adapt(share(1.0), images=40)
    torch.save(T.state_dict(), tmp_path / "state.pt")
    resumed = adaptive()
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for part in (straight, resumed):
        part.adapt(share(0.7), images=60)  # r_t = 0.64 with the window's first part, 0.4 without
    assert straight.p.item() == pytest.approx(0.2)
    assert same(straight.state_dict(), resumed.state_dict())


def two_ranks(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    T = adaptive()
    p = []
    for accuracy in ((1.0, 1.0), (1.0, 0.5), (1.0, 0.75), (0.5, 1.0)):  # r_t: 1, 0.5, 0.75, 0.5
        T.adapt(share(accuracy[rank]), images=200)
        p.append(T.p.item())
    T.adapt(share(1.0 - rank), images=20)
    torch.save([p, T.signs], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_hold_the_same_p_from_the_statistics_of_both(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(two_ranks, (str(tmp_path),), nprocs=2, start_method="fork")
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for p, _ in ranks:
        assert p == pytest.approx([0.2, 0, 0.2, 0])
    assert [signs.item() for _, signs in ranks] == [20, -20]  # of the window that has begun, not yet exchanged
