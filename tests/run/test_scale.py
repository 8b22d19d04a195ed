"""`scale`: how wide networks are, by the paper, the image's size and what they are to be trained on."""

from typing import Any

import pytest
import torch
from common import MODELS, compose

import train
from zoo.data.check import BATCH
from zoo.run.config import by_scale, choices, plain, table

FREE = ["run_dir=x", "callbacks.report.overrides=[]", "logger=csv"]
WIDTHS = {  # small, medium, paper: at the data of the variant's own
    "cgan": {"width": (32, 64, 128)},
    "cyclegan": {"width": (16, 64, 64), "discriminator_width": (32, 64, 64)},
    "dcgan": {"width": (32, 64, 128)},
    "f_anogan": {"width": (16, 64, 64)},
    "fastgan": {"latent_dim": (100, 256, 256), "width": (16, 32, 64), "decoder_width": (8, 16, 32)},
    "pix2pix": {"width": (32, 64, 64), "discriminator_width": (32, 64, 64)},
    "r3gan": {
        "channel_base": (512, 12_288, 24_576), "channel_max": (64, 384, 768), "blocks": (1, 2, 2),
        "lr": (0.002, 0.0002, 0.0002),
    },
    "srgan": {
        "width": (32, 64, 64), "blocks": (8, 16, 16), "discriminator_width": (32, 64, 64),
        "discriminator_dense": (256, 1024, 1024),
    },
    "stylegan_lite": {
        "latent_dim": (64, 512, 512), "w_dim": (64, 512, 512), "mapping_layers": (2, 2, 8),
        "channel_base": (512, 16_384, 16_384), "channel_max": (64, 256, 512), "lr": (0.005, 0.0025, 0.002),
    },
    "style_transfer": {"width": (16, 32, 32)},
    "vanilla": {},
}  # fmt: skip


def composed(*overrides: str) -> dict[str, Any]:
    return plain(compose(*overrides, *FREE))


@pytest.mark.parametrize("model", MODELS)
def test_the_widths_of_each_variant(model: str) -> None:
    for position, scale in enumerate(("small", "medium", "paper")):
        settings = composed(f"model={model}", f"scale={scale}")["model"]
        for name, values in WIDTHS[model].items():
            value = settings[name]["D"] if name == "lr" else settings[name]
            assert value == values[position], (scale, name)
            assert type(value) is type(values[position])
    assert composed(f"model={model}") == composed(f"model={model}", "scale=small")


@pytest.mark.slow
@pytest.mark.parametrize("data", ["folder", "labelled_folder"])
def test_own_images_come_in_small_batches_where_networks_are_small(data: str) -> None:
    of = lambda *overrides: composed(f"data={data}", *overrides)["data"]["batch_size"]
    assert [of(), of("scale=medium"), of("scale=paper")] == [16, 64, 64]
    assert [of("trainer=gpu"), of("trainer=gpu", "scale=small")] == [64, 16]
    assert [of("data.batch_size=3"), of("model=fastgan"), of("model=fastgan", "scale=paper")] == [3, 8, 8]
    assert of() == BATCH, "zoo check-data names a smaller one where there are fewer images"


def channels(*overrides: str) -> list[int]:
    """The channels of StyleGAN-lite's layers, from the start to the image."""
    cfg = compose("model=stylegan_lite", "data=celeba", *overrides, *FREE)
    with torch.device("meta"):
        return [rgb.weight.shape[1] for rgb in train.build(cfg)[1].G.rgbs]


@pytest.mark.parametrize("size", ["16", "32", "64", "128", "256", "512", "1024", "[64,128]"])
def test_a_style_generator_has_no_bottleneck_next_to_the_image(size: str) -> None:
    small = channels(f"data.image_size={size}")
    assert small[-1] >= 16
    assert small == sorted(small, reverse=True)
    assert max(small) == 64
    medium, paper = (channels(f"data.image_size={size}", f"scale={scale}")[-1] for scale in ("medium", "paper"))
    ada = {"16": 512, "32": 512, "64": 256, "128": 128, "256": 64, "512": 64, "1024": 32, "[64,128]": 256}[size]
    assert (medium, paper) == (min(ada, 256), ada)


def test_an_explicit_width_wins() -> None:
    assert composed("model=dcgan", "scale=paper", "model.width=48")["model"]["width"] == 48
    assert composed("model=stylegan_lite", "scale=paper", "model.lr.D=0.001")["model"]["lr"] == {"D": 0.001, "G": 0.002}


@pytest.mark.slow
def test_a_gpu_brings_wider_networks_along_and_the_command_line_wins() -> None:
    scales = {trainer: composed(f"trainer={trainer}")["scale"] for trainer in choices("trainer")}
    assert scales == {"auto": "small", "cpu": "small", "ddp_cpu": "small", "gpu": "medium", "ddp": "medium"}
    gpu = composed("trainer=gpu")
    assert gpu["model"]["width"] == 64
    assert gpu["trainer"] == {**composed()["trainer"], "accelerator": "gpu", "precision": "bf16-mixed"}
    for given in (["trainer=gpu", "scale=paper"], ["scale=paper", "trainer=ddp"]):
        assert composed(*given)["scale"] == "paper"


@pytest.mark.slow
@pytest.mark.parametrize("recipe", sorted(table("experiment")))
def test_a_recipe_trains_the_same_networks_everywhere(recipe: str) -> None:
    here, there = (composed(f"experiment={recipe}", f"trainer={trainer}") for trainer in ("cpu", "ddp"))
    assert here["model"] == there["model"]
    assert recipe == "vanilla_mnist" or "scale" in table("experiment")[recipe]  # it has the same widths at each


def test_a_value_by_the_shorter_side() -> None:
    of = lambda size: by_scale({16: 1, 64: 2, 128: 3}, 4, 5, _root_=compose(f"data.image_size={size}", *FREE))
    assert [of(size) for size in ("8", "16", "63", "64", "[128,64]", "128", "500")] == [1, 1, 1, 2, 2, 3, 3]
