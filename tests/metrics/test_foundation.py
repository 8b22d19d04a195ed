"""Extractors whose weights are downloads: the real way of loading, on small networks of random weights."""

import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch_fidelity.feature_extractor_clip import CLIPVisual
from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16
from torchvision.transforms import InterpolationMode, v2

from zoo.metrics import foundation
from zoo.metrics.extractors import Downloaded, MissingWeights, sha256
from zoo.metrics.foundation import CLIP, VGG16, DINOv2, VisionTransformer
from zoo.run.config import compose

WIDTH = 64  # of the small networks


def images(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).byte()


class SmallVGG(nn.Module):
    """Its layers' names and order."""

    def __init__(self, **_: Any) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(7), nn.Flatten())
        self.classifier = nn.Sequential(
            nn.Linear(196, 32),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(32, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 9),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


class SmallCLIP(nn.Module):
    """What OpenAI's archives hold, as far as it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = CLIPVisual(512, 64, 2, WIDTH, 32).visual
        self.text_projection = nn.Parameter(torch.zeros(8, 512))
        self.logit_scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.visual(x)


@pytest.fixture
def vgg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torchvision.models, "vgg16", SmallVGG)
    path = tmp_path / "vgg.pth"
    torch.save(SmallVGG().state_dict(), path)
    monkeypatch.setattr(VGG16, "SHA256_PREFIX", sha256(path)[:8])
    return path


@pytest.fixture
def dinov2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small = lambda: VisionTransformer(WIDTH, 2, 4)
    monkeypatch.setattr(DINOv2, "Network", staticmethod(small))
    path = tmp_path / "dinov2.pth"
    torch.save({name: 0.2 * torch.randn_like(weight) for name, weight in small().state_dict().items()}, path)
    monkeypatch.setattr(DINOv2, "SHA256_PREFIX", sha256(path))
    return path


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "clip.pt"
    torch.jit.trace(SmallCLIP().eval(), torch.zeros(1, 3, 64, 64)).save(str(path))
    hashes = {"hash": sha256(path), "filename": "small"}
    monkeypatch.setattr(foundation, "MODEL_METADATA", {"clip-vit-b-32": hashes, "clip-vit-l-14-336px": hashes})
    return path


def held(extractor: Downloaded) -> None:
    """What all extractors promise."""
    state = torch.get_rng_state()
    colour, grey = images(2, 3, 40, 32), images(2, 1, 40, 32)
    features = extractor(colour)
    assert torch.equal(torch.get_rng_state(), state), "loading drew from the training's random state"
    assert features.dtype == torch.float32
    assert features.std() > 0
    assert torch.allclose(extractor(grey), extractor(grey.repeat(1, 3, 1, 1)), atol=1e-5)
    assert not any(p.requires_grad for p in extractor.parameters())
    assert not any(m.training for m in extractor.train().modules())
    assert extractor.protocol()["weights_sha256"] == sha256(extractor.path)
    assert extractor.distance == "fd"


def test_vgg16_is_torch_fidelitys(vgg: Path) -> None:
    extractor = VGG16(weights=str(vgg))
    held(extractor)
    reference = FeatureExtractorVGG16("vgg16", ["fc2_relu"], str(vgg))
    batch = images(2, 3, 40, 32)
    assert torch.equal(extractor(batch), reference(batch)[0])
    assert extractor(batch).shape == (2, extractor.num_features)
    assert extractor(batch).min() == 0  # after the ReLU


def test_dinov2_is_the_transformer_that_torch_has(dinov2: Path) -> None:
    """torch's own layers with the same weights, on the images that Stein et al.'s code makes."""
    extractor = DINOv2(weights=str(dinov2))
    held(extractor)
    state = torch.load(dinov2)
    batch = images(2, 3, 32, 32)
    resize = v2.Resize((224, 224), InterpolationMode.BICUBIC)
    pictures = [v2.functional.to_dtype(v2.functional.pil_to_tensor(resize(Image.fromarray(image.permute(1, 2, 0).numpy()))), scale=True) for image in batch]  # fmt: skip  # noqa: E501
    x = v2.functional.normalize(torch.stack(pictures), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    x = F.conv2d(x, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14).flatten(2).mT
    places = state["pos_embed"][:, 1:].reshape(1, 37, 37, WIDTH).permute(0, 3, 1, 2)
    places = F.interpolate(places, scale_factor=(16.1 / 37,) * 2, mode="bicubic").permute(0, 2, 3, 1).flatten(1, 2)
    x = torch.cat([state["cls_token"].expand(2, -1, -1), x], 1) + torch.cat([state["pos_embed"][:, :1], places], 1)
    for block in range(2):
        part = {name: state[f"blocks.{block}.{name}"] for name in (
            "norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "attn.qkv.weight", "attn.qkv.bias",
            "attn.proj.weight", "attn.proj.bias", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias",
            "ls1.gamma", "ls2.gamma")}  # fmt: skip
        attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True).eval()
        attention.load_state_dict(
            {"in_proj_weight": part["attn.qkv.weight"], "in_proj_bias": part["attn.qkv.bias"],
             "out_proj.weight": part["attn.proj.weight"], "out_proj.bias": part["attn.proj.bias"]}
        )  # fmt: skip
        y = F.layer_norm(x, (WIDTH,), part["norm1.weight"], part["norm1.bias"], 1e-6)
        x = x + part["ls1.gamma"] * attention(y, y, y)[0]
        y = F.layer_norm(x, (WIDTH,), part["norm2.weight"], part["norm2.bias"], 1e-6)
        y = F.gelu(F.linear(y, part["mlp.fc1.weight"], part["mlp.fc1.bias"]))
        x = x + part["ls2.gamma"] * F.linear(y, part["mlp.fc2.weight"], part["mlp.fc2.bias"])
    expected = F.layer_norm(x[:, 0], (WIDTH,), state["norm.weight"], state["norm.bias"], 1e-6)
    assert torch.allclose(extractor(batch), expected, atol=5e-3)  # a level of a pixel here and there


def test_dinov2_has_the_published_network() -> None:
    """The size of its file, 1,217,586,395 bytes, is that of its weights but for their names."""
    with torch.device("meta"):
        network = VisionTransformer()
    assert sum(weight.numel() for weight in network.state_dict().values()) == 304_368_640
    assert network.state_dict()["blocks.23.attn.qkv.weight"].shape == (3 * DINOv2.num_features, DINOv2.num_features)


def test_clip_embeds_images(clip: Path) -> None:
    extractor = CLIP(weights=str(clip))
    extractor.size = 64  # that of the small network
    held(extractor)
    batch = images(2, 3, 64, 64)
    x = v2.functional.normalize(
        batch.float() / 255, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    )
    network = torch.jit.load(str(clip))
    # Most of the weights are read as float16, which they are in the published files.
    assert torch.allclose(extractor(batch), network(x), atol=1e-2)
    assert extractor.embeds
    larger = CLIP(network="vit-l-14-336px", weights=str(clip))
    assert (larger.name, extractor.name, larger.num_features) == ("clip_l14", "clip", 768)


@pytest.mark.parametrize("shape", [(32, 32), (300, 300), (100, 300)])
def test_images_are_resized_as_pillow_did(shape: tuple[int, int]) -> None:
    """torch's integer kernel, which copies Pillow's."""
    batch = images(2, 3, *shape)
    expected = F.interpolate(batch, (224, 224), mode="bicubic", antialias=True).float()
    difference = (foundation.resized(batch, 224) * 255 - expected).abs()
    assert difference.max() < 2.5
    assert (difference > 0.5).float().mean() < 0.01
    assert torch.equal(foundation.resized(images(1, 3, 224, 224), 224) * 255, images(1, 3, 224, 224).float())


@pytest.mark.parametrize("make", [VGG16, DINOv2, CLIP])
def test_without_network_one_sentence_says_what_to_do(
    make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    extractor = make()
    with pytest.raises(MissingWeights) as raised:
        extractor.load()
    place = tmp_path / "hub/checkpoints" / extractor.FILE
    for part in ("no network", extractor.what, str(place), "metrics.extractor.weights=FILE", "metrics=none"):
        assert part in str(raised.value)


@pytest.mark.parametrize("make", [VGG16, DINOv2, CLIP])
def test_another_file_is_refused_before_it_is_read(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "other"
    path.write_bytes(b"not the weights")
    with pytest.raises(ValueError, match=r"other is not .*its SHA-256 begins"):
        make(weights=str(path))
    extractor = make()
    monkeypatch.setattr(type(extractor), "SHA256_PREFIX", sha256(path), raising=False)
    extractor.path, extractor.SHA256_PREFIX = path, sha256(path)
    with pytest.raises(ValueError, match="other does not hold the weights"):
        extractor.load()


@pytest.mark.parametrize(("group", "name"), [("vgg16", "vgg"), ("dinov2", "dinov2"), ("clip", "clip")])
def test_the_command_line_has_them(group: str, name: str) -> None:
    from hydra.utils import instantiate

    judge = instantiate(compose(f"metrics={group}", "cache_dir=here").metrics)
    assert judge.extractor.name == name
    assert judge.metrics[0].headline == f"fd_{name}"
