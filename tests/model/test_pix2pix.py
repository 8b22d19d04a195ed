"""pix2pix's objective, order and networks."""

import copy

import pytest
import torch
from common import make, pairs, train_on
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss

from zoo.model.pix2pix import Pix2Pix

TINY = ["data.image_size=16", "model.width=2", "model.discriminator_width=2"]


def gan(*overrides: str) -> Pix2Pix:
    torch.manual_seed(0)
    return make("pix2pix", *TINY, *overrides)


@pytest.mark.parametrize("norm", ["instance", "instance_affine", "batch"])
def test_the_terms_are_the_papers(norm: str) -> None:
    """Eq. (1) halved for D, then eq. (4) for G against the D that has moved."""
    model, batch = gan("model.dropout=0", f"model.norm={norm}", "model.l1=7"), pairs()
    model.to(memory_format=torch.channels_last)
    G, D = copy.deepcopy((model.G, model.D))
    train_on(model, [batch])
    x, y = batch.x, batch.y
    bce = lambda logit, truth: binary_cross_entropy_with_logits(logit, torch.full_like(logit, truth))
    fake = G(x).detach()
    loss_D = (bce(D(torch.cat([x, y], 1)), 1.0) + bce(D(torch.cat([x, fake], 1)), 0.0)) / 2
    optimizer = torch.optim.Adam(D.parameters(), lr=2e-4, betas=(0.5, 0.999))
    loss_D.backward()
    optimizer.step()
    expected = {
        "D/adversarial": loss_D,
        "G/adversarial": bce(D(torch.cat([x, fake], 1)), 1.0),
        "G/l1": 7 * l1_loss(fake, y),
    }
    for name, value in expected.items():
        assert model.run_log.latest[name] == pytest.approx(value.item(), rel=1e-4), name
    for key, value in D.named_parameters():
        torch.testing.assert_close(dict(model.D.named_parameters())[key], value, rtol=0, atol=2e-5)


def test_the_u_net_is_contiguous_on_a_cpu_and_its_average_too() -> None:
    """Its inner weights are larger than its activations: channels-last would copy them in each step."""
    model = gan("model.ema_half_life=100")
    train_on(model, [pairs(), pairs()])
    weights = [(name, value) for name, value in model.named_parameters() if value.dim() == 4 and min(value.shape) > 1]
    laid_out = {"G": torch.contiguous_format, "G_ema": torch.contiguous_format, "D": torch.channels_last}
    assert {name.partition(".")[0] for name, _ in weights} == set(laid_out)
    for name, value in weights:
        assert value.is_contiguous(memory_format=laid_out[name.partition(".")[0]]), name


@pytest.mark.slow
def test_dropout_is_noise_in_training_only() -> None:
    model, x = gan("data.image_size=32"), pairs(size=(32, 32)).x
    assert any(isinstance(m, nn.Dropout) for m in model.G.modules())
    with torch.no_grad():
        assert not torch.equal(model.G(x), model.G(x))
        assert torch.equal(model.translate(x), model.translate(x))
    assert model.G.training
    assert not any(isinstance(m, nn.Dropout) for m in gan("data.image_size=32", "model.dropout=0").G.modules())


@pytest.mark.parametrize("generator", ["unet", "resnet"])
@pytest.mark.parametrize("size", [32, 64, 128, 256, 512])
def test_from_32_to_512_pixels(generator: str, size: int) -> None:
    settings = [f"data.image_size={size}", f"model.generator={generator}", "data.channels_x=1"]
    settings += ["model.blocks=1"] if generator == "resnet" else []
    model = gan(*settings, "model.width=1", "model.discriminator_width=1")
    batch = pairs(1, x=1, size=(size, size))
    with torch.no_grad():
        assert model.G(batch.x).shape == batch.y.shape
        assert model.critique(batch)["D"].shape[:2] == (1, 1)


@pytest.mark.parametrize("size", [(1, 5), (17, 31), (40, 16)])
def test_translate_keeps_sizes(size: tuple[int, int]) -> None:
    assert gan("data.channels_y=1").translate(torch.rand(2, 3, *size)).shape == (2, 1, *size)


def test_one_direction_only() -> None:
    with pytest.raises(ValueError, match="direction='Y->X' must be X->Y"):
        gan().translate(torch.zeros(1, 3, 8, 8), "Y->X")


def test_batch_statistics_stay_as_they_were() -> None:
    model = gan("model.norm=batch")
    before = copy.deepcopy(model.state_dict())
    model.translate(pairs().x)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_preview_and_average() -> None:
    model, batch = gan("model.ema_half_life=1_000"), pairs()
    train_on(model, [pairs(), pairs(), pairs()])
    with torch.no_grad():
        (preview,) = model.preview(batch).values()
        torch.testing.assert_close(preview.fake, model.G_ema.module(batch.x))
    assert preview.target is preview.real is batch.y
    assert [part is whole for part, whole in zip(preview.panel, (batch.x, preview.fake, batch.y), strict=True)]


def test_numbers_out_of_range() -> None:
    for setting, message in (
        ("model.l1=-1", "model.l1=-1.0 must not be negative"),
        ("model.dropout=1", r"model.dropout=1.0 must be in \[0, 1\)"),
        ("model.n_critic=0", "model.n_critic=0 must be 1 or more"),
        ("model.norm=layer", "model.norm=layer must be one of instance, instance_affine, batch"),
        ("data.image_size=20", "multiples of 8, 8 or more; try data.image_size=16"),
    ):
        with pytest.raises(ValueError, match=message.replace(".0", "(.0)?")):
            make("pix2pix", setting)
