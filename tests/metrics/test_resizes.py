"""Inception's ways of resizing against the tools that publish by them, with the same random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from common import needs
from PIL import Image
from torch import Tensor, nn
from torchmetrics.image.fid import NoTrainInceptionV3

from zoo.cli.measure import composed
from zoo.data.originals import Originals
from zoo.metrics.extractors import INCEPTION_STAGES, Inception, sha256
from zoo.metrics.frechet import frechet, moments

cleanfid = needs("cleanfid.fid")
build_resizer = needs("cleanfid.resize").build_resizer
fid_score, theirs_inception = needs("pytorch_fid.fid_score"), needs("pytorch_fid.inception")

SIZES = {"small": (32, 32), "square": (64, 64), "wide": (240, 330), "tall": (400, 310)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random ones whose features are of the size of 1, in the file's format, which both tools load."""
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(theirs_inception, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
        network = theirs_inception.fid_inception_v3()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=torch.Generator().manual_seed(1))
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def inception(weights: Path) -> Inception:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Inception, "SHA256_PREFIX", sha256(weights)[:8])
        extractor = Inception(weights=str(weights))
        extractor.load()
        return extractor


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smooth noise of several sizes, in colours and grey."""
    path, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name, (height, width) in SIZES.items():
        rough = Image.fromarray(random.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8))
        rough.resize((width, height), Image.Resampling.BICUBIC).save(path / f"{name}.png")
    Image.open(path / "small.png").convert("L").save(path / "grey.png")
    return path


@pytest.fixture(scope="module")
def images(folder: Path) -> dict[str, Tensor]:
    """As the command reads them: uint8 [1, C, H, W] by name."""
    originals = Originals(folder)
    batches = originals.batches(1)
    return {originals.files[int(position)].removesuffix(".png"): image for image, position in batches}


@pytest.mark.slow
def test_pytorch_fid(
    inception: Inception, weights: Path, folder: Path, images: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = torch.load(weights, weights_only=True)
    monkeypatch.setattr(theirs_inception, "load_state_dict_from_url", lambda *_, **__: state)
    network = theirs_inception.InceptionV3([3])
    for name, image in images.items():  # it takes no batch of mixed sizes
        theirs = fid_score.get_activations([folder / f"{name}.png"], network, 1, num_workers=0)
        ours = inception.with_resize("pytorch")(image)
        assert 0.01 < ours.std() < 100
        assert np.allclose(ours.numpy(), theirs, rtol=1e-3, atol=1e-4 * float(ours.std())), name


def test_clean_fid(inception: Inception, folder: Path, images: dict[str, Tensor]) -> None:
    resized = build_resizer("clean")
    clean = inception.with_resize("clean")
    for name, image in images.items():
        theirs = resized(np.array(Image.open(folder / f"{name}.png").convert("RGB")))
        pixels = torch.from_numpy(theirs).permute(2, 0, 1)[None]
        assert (clean.inputs(image) * 128 + 128 - pixels).abs().max() < 1e-4, name  # of 255, and not rounded
        x = (pixels - 128) / 128  # what its InceptionV3W does
        for stage in INCEPTION_STAGES if name in ("small", "wide") else ():
            x = getattr(inception.network, stage)(x)
            if stage == "AvgPool":
                assert torch.allclose(clean(image), x.flatten(1), rtol=1e-3, atol=1e-4)
    legacy = build_resizer("legacy_pytorch")(np.array(Image.open(folder / "wide.png").convert("RGB")))
    assert np.allclose(inception.with_resize("pytorch").inputs(images["wide"])[0].permute(1, 2, 0), legacy / 127.5 - 1)


@pytest.mark.slow
def test_torchmetrics_and_torch_fidelity(inception: Inception, weights: Path, images: dict[str, Tensor]) -> None:
    default = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(weights))
    for name in ("small", "wide"):
        ours = inception.with_resize("antialias")(images[name])
        assert torch.allclose(ours, default(images[name]), rtol=1e-4, atol=1e-5)
        # What floats go through is what torch-fidelity's own forward does with bytes.
        floats = inception.smooth(images[name].float().div(127.5).sub(1))
        assert torch.allclose(floats, inception(images[name]), rtol=1e-3, atol=1e-4)
    assert len({float(inception.with_resize(mode)(images["small"]).sum()) for mode in Inception.RESIZES}) == 4


def test_their_frechet_distances() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(300, 24, generator=generator, dtype=torch.float64) @ torch.randn(24, 24).double() for _ in "ab")
    ours = frechet(moments(b), moments(a))
    arguments = [x for side in (a, b) for x in (side.mean(0).numpy(), np.cov(side.numpy(), rowvar=False))]
    assert fid_score.calculate_frechet_distance(*arguments) == pytest.approx(ours, abs=1e-6)
    assert cleanfid.frechet_distance(*arguments) == pytest.approx(ours, abs=1e-6)


def test_the_setting_is_refused_where_it_is_unknown() -> None:
    with pytest.raises(ValueError, match=r"metrics\.extractor\.resize=lanczos is unknown: use tensorflow, antialias"):
        Inception(resize="lanczos")
    assert composed("metrics", "inception", 0, []).metrics.extractor.resize == "tensorflow"
