"""benchmarks/gpu.py as far as a CPU can try it: the CPU stands for the GPU, so nothing may differ."""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from common import program

from zoo.game.gan import GAN

gpu = program("benchmarks/gpu.py")


@pytest.fixture
def options(tmp_path: Path) -> argparse.Namespace:
    return argparse.Namespace(
        out=tmp_path / "gpu", device="cpu", steps=24, minutes=1.0, only="right/d", again=False, cifar10=None, jobs=1
    )


@pytest.mark.slow
def test_two_devices_are_held_against_each_other(options: argparse.Namespace, tmp_path: Path) -> None:
    found = gpu.right("vanilla", tmp_path, options)
    assert found == {
        "steps": 24,
        "compared": 6,
        "difference": 0.0,
        "of": "",
        "at_step": 0,
        "later_norms": 0.0,
        "ok": True,
    }


@pytest.mark.slow
def test_other_arithmetic_is_found(
    options: argparse.Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tanh that is off by half a percent, on the second device, after the restart: its first step tells."""
    tanh, trained = torch.tanh, gpu.trained

    def second(cfg: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            if cfg.resume:
                patch.setattr(torch.nn.Tanh, "forward", lambda self, x: tanh(x) * 0.995)
            return trained(cfg)

    monkeypatch.setattr(gpu, "trained", second)
    found = gpu.right("vanilla", tmp_path, options)
    assert not found["ok"]
    assert found["difference"] > 1e-3
    assert found["at_step"] > 20


@pytest.mark.slow
@pytest.mark.parametrize(("model", "most"), [("vanilla", 1e-3), ("fastgan", 0.1)])
def test_what_rounding_alone_makes_is_small_and_not_nothing(
    model: str, most: float, options: argparse.Namespace, tmp_path: Path
) -> None:
    options.steps = 4
    found = gpu.rounding(model, tmp_path, options)
    assert found["compared"] == 3
    assert 1e-8 < found["difference"] < most
    assert not torch.nn.modules.module._global_forward_hooks


@torch.library.custom_op("zoo_tests::unsteady", mutates_args=())
def unsteady(x: torch.Tensor) -> torch.Tensor:
    """Another result each time, as a kernel whose threads add in any order."""
    unsteady.calls = getattr(unsteady, "calls", 0) + 1  # type: ignore[attr-defined]
    return x + 1e-7 * unsteady.calls  # type: ignore[attr-defined]


def test_what_does_not_repeat_is_named(
    options: argparse.Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = "callbacks.budget.max_images=16"
    assert gpu.unrepeatable(gpu.configured("vanilla", tmp_path / "steady", options, few)) == set()
    monkeypatch.setattr(torch.nn.Tanh, "forward", lambda self, x: x.tanh() + unsteady(x.detach()))
    found = gpu.unrepeatable(gpu.configured("vanilla", tmp_path / "unsteady", options, few))
    assert len(found) == 1
    assert "unsteady" in found.pop()


def test_what_is_drawn_for_another_device_is_the_cpus() -> None:
    stream, same = (torch.Generator().manual_seed(3) for _ in range(2))
    with gpu.numbers_of_the_cpu():
        assert torch.randn(5, generator=stream, device="meta").is_meta
        assert GAN._stream(SimpleNamespace(_trainer=None), torch.device("meta")).device.type == "cpu"  # type: ignore[arg-type]
    torch.randn(5, generator=same)
    assert torch.equal(stream.get_state(), same.get_state())


def test_what_is_no_number_is_the_largest_difference() -> None:
    assert gpu.difference({"images": 1, "D/a": 2.0, "D/b": 0.1}, {"images": 9, "D/a": 2.5, "D/b": 0.2}) == (0.25, "D/a")
    assert gpu.difference({"a": 1.0, "b": 1.0}, {"a": float("nan"), "b": 5.0})[0] == float("inf")


def test_pieces_add_up(
    options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is done is not done again, what failed only where asked, and what no time was for is left."""
    tried: list[str] = []
    answers: dict[str, Any] = {
        "right/dcgan": {"steps": 200, "compared": 30, "difference": 2e-5, "of": "D/adversarial", "at_step": 3},
        "right/r3gan": {"ok": False, "failed": "RuntimeError: no kernel"},
        "right/srgan": None,
    }

    def done(piece: str, folder: Path, options: argparse.Namespace, seconds: float) -> Any:
        tried.append(piece)
        return answers[piece]

    monkeypatch.setattr(gpu, "pieces", lambda: list(answers))
    monkeypatch.setattr(gpu, "done", done)
    monkeypatch.setattr(gpu, "card", lambda options: {"card": "X1", "torch": "2", "lightning": "3", "commit": "abc"})
    options.only = ""
    assert gpu.go_on(options) == 1
    assert tried == list(answers)
    assert capsys.readouterr().out.endswith("left: 1, type the same again\n")
    gpu.go_on(options)
    assert tried[3:] == ["right/srgan"]
    options.again, answers["right/r3gan"] = (
        True,
        {"steps": 24, "differ": [], "without_deterministic_kernel": ["a_cuda"]},
    )
    answers["right/srgan"] = {"images_per_s": 10.4, "lowest": 9, "highest": 11, "peak_GiB": 1.25, "batch": 1}
    assert gpu.go_on(options) == 0
    assert tried[4:] == ["right/r3gan", "right/srgan"]
    assert capsys.readouterr().out.endswith("nothing is left\n")
    assert gpu.table(options.out) == (
        "On X1, torch 2, lightning 3, abc:\n\n| piece | result |\n|---|---|\n"
        "| right/dcgan | 2.0e-05 (D/adversarial at step 3) in 30 of 200 steps |\n"
        "| right/r3gan | equal bit for bit; no deterministic kernel: a_cuda |\n"
        "| right/srgan | 10 [9.00, 11] images/s, 1.2 GiB |"
    )


@pytest.mark.slow
def test_a_piece_that_fails_leaves_its_last_line(options: argparse.Namespace, tmp_path: Path) -> None:
    found = gpu.done("right/no_model", tmp_path / "work", options, 60.0)
    assert not found["ok"]
    assert "no_model" in found["failed"]
    assert not (tmp_path / "work").exists()


def test_a_piece_for_which_all_the_time_is_too_little_fails(options: argparse.Namespace, tmp_path: Path) -> None:
    """Else it would be begun again each time, and nothing behind it."""
    options.minutes = 0.5 / 60
    found = gpu.done("right/dcgan", tmp_path / "work", options, 0.5)
    assert found == {"ok": False, "failed": "did not end within 0 s: give more --minutes"}
    options.minutes = 1.0
    assert gpu.done("right/dcgan", tmp_path / "work", options, 0.5) is None


def test_what_was_tried_on_another_card_is_not_done(
    options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    monkeypatch.setattr(gpu, "done", lambda piece, *args: tried.append(piece) or {"steps": 1, "ok": True})
    for card in ("CPU", "CPU", "X1"):
        monkeypatch.setattr(gpu, "card", lambda options, card=card: {"card": card})
        options.only = "two/dcgan"
        gpu.go_on(options)
    assert tried == ["two/dcgan"] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece", ["right/cyclegan", "graph/vanilla", "resume/srgan", "waits/dcgan", "two/dcgan", "fast/pix2pix-256/bf16"]
)
def test_a_piece_of_each_part(piece: str, options: argparse.Namespace) -> None:
    options.only, options.minutes = piece, 10
    assert gpu.go_on(options) == 0
    assert json.loads((options.out / "pieces.json").read_text())[piece]["card"] == "CPU"
