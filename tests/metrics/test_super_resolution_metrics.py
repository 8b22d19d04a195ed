"""The evaluation of whole images: its figures, its choice of the best, and many processes."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from zoo.batch import LowHigh, Preview, from_bytes, to_bytes
from zoo.metrics.pixels import measure
from zoo.metrics.super_resolution import SuperResolution

SIZES = ((24, 20), (31, 24), (20, 40), (26, 26), (22, 28))


class Image(NamedTuple):
    name: str
    batch: LowHigh
    is_grey: bool


class Data:
    """Five images of different sizes, the third of them grey."""

    scale = 2
    description = "noise"

    def __init__(self, size: int = 5) -> None:
        draw = torch.Generator().manual_seed(1)
        self.images = [torch.randint(0, 256, (1, 3, *s), generator=draw, dtype=torch.uint8) for s in SIZES[:size]]

    def fingerprint(self, split: str) -> str:
        return "1"

    def num_whole_images(self, split: str) -> int:
        return len(self.images)

    def whole_images(self, *, split: str, rank: int, world_size: int) -> Iterator[Image]:
        for i in range(rank, len(self.images), world_size):
            high = from_bytes(self.images[i])
            yield Image(f"{i}.png", LowHigh(high[:, :, ::2, ::2], high, torch.tensor([i])), i == 2)


def fake_of(high: Tensor) -> Tensor:
    """Off by twice the number of its rows, in levels, in a checkerboard; beyond [-1, 1] too."""
    sign = torch.tensor([1.0, -1.0]).repeat(high.shape[3] // 2)
    return high + sign * high.shape[2] / 127.5 * 0.5


def preview(batch: LowHigh) -> dict[str, Preview]:
    return {"samples": Preview(fake=fake_of(batch.high), real=batch.high, target=batch.high)}


def judge(**change: Any) -> SuperResolution:
    return SuperResolution(**{"split": "test", "border": None, "lpips": None, **change})


@pytest.mark.parametrize("border", [None, 0, 4])
def test_the_mean_of_the_images_figures(border: int | None) -> None:
    data = Data()
    result = judge(border=border).evaluate(preview, data, device="cpu", protocol={"generator": "EMA"})
    expected: dict[str, list[float]] = {}
    for i, target in enumerate(data.images):
        fake = to_bytes(fake_of(from_bytes(target)))
        for name, value in measure(fake, target, border=2 if border is None else border, is_grey=i == 2).items():
            expected.setdefault(name, []).append(value.item())
            assert result.images[f"{i}.png"][name] == pytest.approx(value.item())
    assert result.values == pytest.approx({name: sum(values) / 5 for name, values in expected.items()})
    assert result.protocol["num_images"] == 5
    assert result.protocol["border"] == (2 if border is None else border)
    assert result.protocol["generator"] == "EMA"


def test_psnr_tells_the_best_of_pixels_and_lpips_of_the_game() -> None:
    names = ["psnr_y", "ssim_y"]
    assert judge().chooses("pixels", names) == judge().chooses("distribution", names) == ("psnr_y", 1.0)
    assert judge().chooses("perception", names) is None
    both = judge(lpips="alex")
    assert both.chooses("perception", names) is None, "without its weights"
    assert both.chooses("perception", [*names, "lpips"]) == ("lpips", -1.0)
    assert both.chooses("pixels", [*names, "lpips"]) == ("psnr_y", 1.0)


def test_lpips_that_can_not_be_had_is_one_sentence(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    def offline(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity.__init__", offline)
    one = judge(lpips="squeeze")
    one.load()
    assert "lpips" not in one.evaluate(preview, Data(), device="cpu").values
    assert len(caplog.messages) == 1
    assert "lpips is not measured: the weights of squeeze could not be downloaded (no network)" in caplog.messages[0]


def test_lpips_of_colours_in_minus_one_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of our own in its place: what it is given, and that its value is the table's."""

    class Stub(torch.nn.Module):
        def __init__(self, net_type: str, normalize: bool) -> None:
            super().__init__()
            assert (net_type, normalize) == ("alex", False)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            assert a.shape == b.shape
            assert a.shape[1] == 3
            assert a.abs().max() <= 1
            return (a - b).abs().mean()

        def reset(self) -> None: ...

    monkeypatch.setattr("torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity", Stub)
    result = judge(lpips="alex").evaluate(preview, Data(), device="cpu")
    assert result.protocol["lpips"] == "alex"
    assert all(0 < row["lpips"] < 0.3 for row in result.images.values())


def evaluate_on(rank: int, world_size: int, folder: str) -> None:
    dist.init_process_group("gloo", f"file://{folder}/group", rank=rank, world_size=world_size)
    results = [judge().evaluate(preview, Data(size), device="cpu") for size in (5, 2)]
    try:
        judge(border=12).evaluate(preview, Data(), device="cpu")
    except ValueError as error:
        results.append(str(error))  # type: ignore[arg-type]
    plain = [vars(r) | {"estimates": {}} if not isinstance(r, str) else r for r in results]
    torch.save(plain, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_several_processes_equal_one(tmp_path: Path) -> None:
    """More processes than images, too; and an image that one rank can't measure ends all, with its name."""
    multiprocessing.set_forkserver_preload([evaluate_on.__module__])
    torch.multiprocessing.start_processes(evaluate_on, (3, str(tmp_path)), nprocs=3, start_method="forkserver")
    expected = [judge().evaluate(preview, Data(size), device="cpu") for size in (5, 2)]
    for rank in range(3):
        *of_rank, failure = torch.load(tmp_path / f"{rank}.pt")
        for one, many in zip(expected, of_rank, strict=True):
            assert many["values"] == one.values
            assert many["intervals"] == one.intervals
            assert many["images"] == one.images
            assert many["protocol"] == one.protocol
        assert failure.startswith("0.png: an image of 20x24 pixels has none left without border=12")


def test_other_data_are_refused() -> None:
    with pytest.raises(ValueError, match=r"metrics=super_resolution measures whole images.*data=photos"):
        judge().check(preview, object(), device="cpu")  # type: ignore[arg-type]


def test_a_negative_border_is_refused() -> None:
    with pytest.raises(ValueError, match="border=-1"):
        judge(border=-1)


def test_an_evaluation_leaves_no_trace_in_the_training() -> None:
    def random(batch: LowHigh) -> dict[str, Preview]:
        torch.rand(3)
        return preview(batch)

    state = torch.get_rng_state()
    judge().evaluate(random, Data(), device="cpu")
    assert torch.equal(torch.get_rng_state(), state)


def test_values_are_compared_while_images_and_conventions_are_the_same() -> None:
    """The description for people, which may count what could not be read, is no part of it; LPIPS' network is."""
    kept = judge().comparable(Data())
    assert kept == judge().comparable(Data())
    assert "data" not in kept
    assert kept["fingerprint"] == Data().fingerprint("test")
    assert kept != judge(border=7).comparable(Data())
    assert judge().evaluate(preview, Data(), device="cpu").protocol.items() >= kept.items()
