"""What is built, in words: channels by resolution, of the networks as they are."""

import pytest
import torch
from common import MODELS, SMALL, compose, same

import train
from zoo.run.sizes import in_words

EXPECTED = {  # of D and G at the sizes of SMALL
    "cgan": {"D": "8 (4x4), 4 (8x8)", "G": "8 (4x4), 4 (8x8)"},
    "cyclegan": {"G": "16 (4x4), 8 (8x8), 4 (16x16)", "F": "16 (4x4), 8 (8x8), 4 (16x16)"},
    "dcgan": {"D": "8 (4x4), 4 (8x8)", "G": "8 (4x4), 4 (8x8)"},
    "f_anogan": {"D": "8 (4x4), 4 (8x8)", "G": "8 (4x4), 4 (8x8)"},
    # What its gated units halve; 1x1: its excitations.
    "fastgan": {"G": "4 (1x1), 64 (4x4), 32 (8x8), 16 (16x16), 8 (32x32), 8 (64x64)"},
    "pix2pix": {"G": "32 (1x1), 32 (2x2), 16 (4x4), 8 (8x8), 4 (16x16)"},
    "r3gan": {"D": "8 (1x1), 8 (4x4), 8 (8x8), 4 (16x16)", "G": "8 (4x4), 4 (8x8), 4 (16x16)"},
    "srgan": {"G": "4 (8x8), 4 (16x16)"},
    "stylegan_lite": {"D": "8 (4x4), 8 (8x8), 4 (16x16)", "G": "8 (4x4), 8 (8x8), 4 (16x16)"},
    "style_transfer": {"G": "16 (4x4), 8 (8x8), 4 (16x16)"},
    "vanilla": {},
}


@pytest.mark.parametrize("model", MODELS)
def test_channels_by_resolution(model: str) -> None:
    data, gan = train.build(compose(f"model={model}", *SMALL.get(model, []), "run_dir=x", "logger=none"))
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.evaluation_loader(split="train", num=1, batch_size=1)))
    before = {name: value.clone() for name, value in gan.state_dict().items() if isinstance(value, torch.Tensor)}
    random = torch.get_rng_state()
    lines = {line.split()[0]: line for line in in_words(gan, batch)}
    assert lines.keys() == {
        name for name, part in gan.named_children() if any(p.requires_grad for p in part.parameters())
    }
    for name, channels in EXPECTED[model].items():
        assert lines[name].endswith(f" parameters, channels {channels}")
    assert same(before, {name: gan.state_dict()[name] for name in before})
    assert torch.equal(torch.get_rng_state(), random)
    assert all(part.training for name, part in gan.named_children() if "_ema" not in name)
    assert not any(layer._forward_hooks for layer in gan.modules())


def test_a_look_leaves_spectral_normalisation_alone() -> None:
    overrides = ["model.discriminator_norm=spectral", "model.regularizer.r1=0", "run_dir=x", "logger=none"]
    data, gan = train.build(compose(*SMALL["dcgan"], *overrides))
    data.prepare_data()
    data.setup("fit")
    vectors = {name: value.clone() for name, value in gan.D.state_dict().items() if "_u" in name or "_v" in name}
    in_words(gan, next(iter(data.evaluation_loader(split="train", num=1, batch_size=1))))
    assert vectors
    assert same(vectors, {name: gan.D.state_dict()[name] for name in vectors})
