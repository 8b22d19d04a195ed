"""The conditional GAN: how the condition enters both players, held against the papers' formulas."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from common import make
from omegaconf import DictConfig
from PIL import Image
from torch import nn

import zoo
from train import run
from zoo.batch import LabelledImages
from zoo.data.sources import InMemoryImages
from zoo.model.cgan import ConditionalBatchNorm, Embed

SMALL = ["data.image_size=16", "model.width=4"]
FORMS = ["joined", "projection"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("size", "channels"), [(16, 1), (32, 3), ([16, 24], 2), (64, 4)])
def test_sizes_and_channels(form: str, size: object, channels: int) -> None:
    gan = make(
        "cgan", f"data.image_size={size}", f"data.channels={channels}", "model.width=4", f"model.condition={form}"
    )
    height, width = size if isinstance(size, list) else (size, size)
    y = torch.tensor([0, 9, 3])
    image = gan.G(torch.randn(3, 100), y)
    assert image.shape == (3, channels, height, width)
    assert gan.D(image, y).shape == (3,)


def test_conditional_batchnorm_is_batchnorm_with_the_class_s_scale_and_shift() -> None:
    norm = ConditionalBatchNorm(3, partial(Embed, 2, None))
    nn.init.normal_(norm.scale_shift.table.weight)
    x, y = torch.randn(8, 3, 4, 4), torch.tensor([0, 1] * 4)
    normal = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    for label in (0, 1):
        scale, shift = norm.scale_shift.table.weight[label].view(2, 3, 1, 1)
        torch.testing.assert_close(norm(x, y)[y == label], normal[y == label] * (1 + scale) + shift)


def test_projection_is_equation_3() -> None:
    """logit = psi(phi(x)) + y^T V phi(x)."""
    gan = make("cgan", *SMALL, "model.condition=projection").eval()
    x, y = torch.randn(5, 1, 16, 16), torch.tensor([0, 1, 2, 3, 9])
    phi = gan.D.features(x).sum((2, 3))
    onehot = nn.functional.one_hot(y, 10).float()
    V = gan.D.embed.table.weight
    torch.testing.assert_close(gan.D(x, y), gan.D.judge(phi) + ((onehot @ V) * phi).sum(1))


@pytest.mark.parametrize("form", FORMS)
def test_the_condition_reaches_both_players(form: str) -> None:
    gan = make("cgan", *SMALL, f"model.condition={form}").eval()
    for module in (gan.G, gan.D):  # conditional scales are 0 at first
        for embed in (m for m in module.modules() if isinstance(m, nn.Embedding)):
            nn.init.normal_(
                embed.parametrizations.weight.original if hasattr(embed, "parametrizations") else embed.weight
            )
    z, x = torch.randn(1, 100).repeat(2, 1), torch.randn(1, 1, 16, 16).repeat(2, 1, 1, 1)
    y = torch.tensor([3, 4])
    one, other = gan.G(z, y)
    assert not torch.allclose(one, other)
    one, other = gan.D(x, y)
    assert not torch.allclose(one, other)


def test_spectral_norm_in_the_projection_form_alone() -> None:
    assert any(
        "parametrizations" in name
        for name, _ in make("cgan", *SMALL, "model.condition=projection").D.named_parameters()
    )
    joined = make("cgan", *SMALL).D
    assert not any("parametrizations" in name for name, _ in joined.named_parameters())
    assert any(isinstance(m, nn.BatchNorm2d) for m in joined.modules())


def test_vectors_as_condition() -> None:
    """The documented way in for another modality: float labels [N, K]."""
    gan = make("cgan", *SMALL, "model.condition_dim=5")
    y = torch.randn(4, 5)
    assert gan.G(torch.randn(4, 100), y).shape == (4, 1, 16, 16)
    assert gan.D(torch.randn(4, 1, 16, 16), y).shape == (4,)
    assert gan.sample(4, labels=y).shape == (4, 1, 16, 16)
    preview = gan.preview(LabelledImages(torch.zeros(4, 1, 16, 16), y, torch.arange(4)))["samples"]
    assert preview.label is None
    with pytest.raises(ValueError, match="conditioned on vectors"):
        gan.sample(4)
    with pytest.raises(
        ValueError, match=r"condition_dim=5 needs data whose labels are float32 \[N, 5\], not torch.int64"
    ):
        gan.D(torch.randn(4, 1, 16, 16), torch.arange(4))
    kept = InMemoryImages(torch.zeros(4, 1, 16, 16, dtype=torch.uint8), y)[[2, 0]].label
    torch.testing.assert_close(kept, y[[2, 0]])


@pytest.mark.parametrize("vector", [[], ["model.condition_dim=5"]])
def test_conditional_batchnorm_begins_with_scale_1_and_shift_0(vector: list[str]) -> None:
    gan = make("cgan", *SMALL, "model.condition=projection", "loss=hinge", *vector)
    for norm in (m for m in gan.G.modules() if isinstance(m, ConditionalBatchNorm)):
        x, y = torch.randn(6, norm.norm.num_features, 4, 4), torch.randn(6, 5) if vector else torch.arange(6)
        torch.testing.assert_close(norm(x, y), nn.BatchNorm2d(x.shape[1], affine=False)(x))


def test_labels_of_samples() -> None:
    gan = make("cgan", *SMALL)
    images = gan.sample(4, seed=2, labels=[7, 7, 1, 0])
    torch.testing.assert_close(gan.sample(1, seed=4, labels=[1]), images[2:3], rtol=0, atol=1e-5)
    torch.testing.assert_close(gan.sample(12), gan.sample(12, labels=[*range(10), 0, 1]))
    with pytest.raises(ValueError, match="3 labels for n=4"):
        gan.sample(4, labels=[1, 2, 3])


def test_mistakes() -> None:
    with pytest.raises(ValueError, match=r"model\.condition=join must be one of joined, projection"):
        make("cgan", *SMALL, "model.condition=join")
    with pytest.raises(ValueError, match="these data have no classes"):
        make("cgan", "data=celeba")
    with pytest.raises(ValueError, match=r"set model\.condition=projection"):
        make("cgan", *SMALL, "regularizer=gradient_penalty")
    with pytest.raises(ValueError, match="names 2 classes, but the data have 10"):
        make("cgan", *SMALL, "model.classes=[a,b]")
    with pytest.raises(ValueError, match=r"model\.n_critic=0"):
        make("cgan", *SMALL, "model.n_critic=0")


def test_a_labelled_folder_gives_its_names(small: Callable[..., DictConfig], tmp_path: Path) -> None:
    for name, grey in (("cats", 50), ("dogs", 200)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(16):
            Image.new("L", (20, 20), grey + i).save(tmp_path / "pets" / name / f"{i}.png")
    cfg = small("cgan", "data=labelled_folder", f"data.root={tmp_path / 'pets'}", "data.channels=1", "max_images=32")
    run(cfg)
    gan = zoo.load(cfg.run_dir)
    assert gan.hparams["classes"] == ["cats", "dogs"]
    assert gan.sample(2, labels=[0, 1]).shape == (2, 1, 16, 16)
