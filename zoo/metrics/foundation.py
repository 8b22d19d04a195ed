"""Extractors of large networks that others trained, beside the standard Inception; their weights are downloads.

    vgg       VGG16 of torchvision, the activations of its second fully connected layer, as torch-fidelity takes them:
              the features of precision's and recall's paper (Kynkaanniemi et al. 2019, arXiv:1904.06991), whose own
              VGG16 is the same network out of TensorFlow
    dinov2    DINOv2's ViT-L/14 (Oquab et al. 2023, arXiv:2304.07193), its class token: `fd_dinov2` of Stein et al. 2023
              (arXiv:2306.04675), with their code's resize
    clip      the images' side of CLIP (Radford et al. 2021, arXiv:2103.00020): ViT-B/32, by which Kynkaanniemi et al.
              2023 (arXiv:2203.06026) hold FID to account, or ViT-L/14 at 336 pixels, that of CMMD
              (arXiv:2401.09603), whose values carry the name clip_l14

None of them classifies. All are resized to what the network takes, whatever their shape; grey is repeated to three
channels. torch-fidelity's own `dinov2` runs whatever code a repository's main branch holds that day, and resizes as its
Inception does: so the network is written down here and reads the published file, which is held against its hash.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_fidelity.feature_extractor_clip import MODEL_METADATA, MODEL_URLS, build_model
from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16

from zoo import torchfile
from zoo.metrics.extractors import Downloaded

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation of red, green and blue in [0, 1]
CLIPS = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
BICUBIC = "bicubic with antialias, rounded to 8 bits, as Pillow before 13"


def resized(images: Tensor, size: int) -> Tensor:
    """uint8 images [N, C, H, W] -> float32 [N, 3, size, size] in [0, 1], as Pillow's bicubic before version 13: rows
    first, then columns, each rounded to 8 bits. Its integer weights put a few pixels in a thousand one level off."""
    levels = images.float()
    for shape in ((images.shape[2], size), (size, size)):
        if levels.shape[2:] != shape:
            levels = F.interpolate(levels, shape, mode="bicubic", antialias=True).round().clamp(0, 255)
    return levels.expand(-1, 3, -1, -1) / 255


def standardised(images: Tensor, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Tensor:
    """(x - mean) / deviation of each channel of [N, 3, H, W]."""
    return (images - images.new_tensor(mean).view(3, 1, 1)) / images.new_tensor(deviation).view(3, 1, 1)


class VGG16(Downloaded):
    """torchvision's VGG16 up to its second fully connected layer, after the ReLU: 528 MB."""

    FILE = "vgg16-397923af.pth"
    URL = f"https://download.pytorch.org/models/{FILE}"
    SHA256_PREFIX = "397923af"
    what, where = "VGG16", "https://download.pytorch.org/models"
    needs_it = "metrics=vgg16"

    name, distance = "vgg", "fd"
    num_features = 4096
    resize = "to 224x224, bilinear as in TensorFlow 1 (align_corners=False, antialias=False)"

    def build(self) -> nn.Module:
        torchfile.load(self.path, archive=False)  # torch-fidelity's own torch.load may unpickle code
        return FeatureExtractorVGG16("vgg16", ["fc2_relu"], str(self.path))

    def features(self, images: Tensor) -> Tensor:
        return self.network(images.expand(-1, 3, -1, -1))[0]


class Attention(nn.Module):
    """Self-attention of tokens [N, T, width], by DINOv2's names."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class Scale(nn.Module):
    """A factor for each channel (LayerScale: Touvron et al. 2021, arXiv:2103.17239)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Block(nn.Module):
    """A block of a vision transformer (Dosovitskiy et al. 2020, arXiv:2010.11929, eq. 2 and 3), by DINOv2's names."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.ls1, self.ls2 = Attention(width, heads), Scale(width), Scale(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("fc1", nn.Linear(width, 4 * width))
        self.mlp.add_module("act", nn.GELU())
        self.mlp.add_module("fc2", nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class VisionTransformer(nn.Module):
    """DINOv2's network: images [N, 3, 224, 224], standardised -> the normalised class token [N, width].

    Args:
        width: of a token.
        depth: how many blocks.
        heads: of attention.
        grid: places of patches on a side, where it was trained (37 for 518 pixels).
        patch: pixels on a side of one.
    """

    def __init__(self, width: int = 1024, depth: int = 24, heads: int = 16, grid: int = 37, patch: int = 14) -> None:
        super().__init__()
        self.grid = grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width))  # of the training
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch_embed["proj"](x)  # [N, width, h, w]
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), patches.flatten(2).transpose(1, 2)], 1)
        x = tokens + self._places(*patches.shape[2:])
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, 0])

    def _places(self, height: int, width: int) -> Tensor:
        """The embeddings of places, [1, 1 + height * width, width], for images of another size than the training's."""
        if (height, width) == (self.grid, self.grid):
            return self.pos_embed
        first, others = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        square = others.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        # The factor is a little too large in the authors' code, against rounding; the network was judged with it.
        factors = (height + 0.1) / self.grid, (width + 0.1) / self.grid
        return torch.cat([first, F.interpolate(square, scale_factor=factors, mode="bicubic").flatten(2).mT], 1)


class DINOv2(Downloaded):
    """DINOv2's ViT-L/14, its class token: 1.2 GB."""

    FILE = "dinov2_vitl14_pretrain.pth"
    URL = f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/{FILE}"
    SHA256_PREFIX = "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428"
    what, where = "DINOv2's ViT-L/14", "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14"
    needs_it = "metrics=dinov2"

    Network = VisionTransformer

    name, distance = "dinov2", "fd"
    num_features = 1024
    resize = f"to 224x224, {BICUBIC}"

    def build(self) -> nn.Module:
        with torch.device("meta"):  # 300 million numbers that would be drawn in vain
            network = self.Network()
        network.load_state_dict(torchfile.load(self.path), assign=True)
        return network

    def features(self, images: Tensor) -> Tensor:
        return self.network(standardised(resized(images, 224), *IMAGENET)).float()


class CLIP(Downloaded):
    """CLIP's embedding of images: 354 MB, or 934 MB of the larger network.

    Args:
        network: "vit-b-32", or "vit-l-14-336px".
        weights: a local copy of OpenAI's file, see `Downloaded`.
    """

    distance, embeds = "fd", True
    needs_it = "metrics=clip"

    def __init__(
        self, *, network: Literal["vit-b-32", "vit-l-14-336px"] = "vit-b-32", weights: str | None = None
    ) -> None:
        known = f"clip-{network}"
        self.URL = MODEL_URLS[known]
        self.FILE = f"{known}-{MODEL_METADATA[known]['hash']}.pt"  # torch-fidelity's name for its copy
        self.SHA256_PREFIX = MODEL_METADATA[known]["hash"]
        self.what, self.where = f"CLIP's {network}", self.URL
        self.name, self.num_features, self.size = {
            "vit-b-32": ("clip", 512, 224),
            "vit-l-14-336px": ("clip_l14", 768, 336),
        }[network]
        self.resize = f"to {self.size}x{self.size}, {BICUBIC}"
        super().__init__(weights=weights)

    def build(self) -> nn.Module:
        # An archive of TorchScript, which torchfile does not read. It is the published one, by all of its hash.
        archive = torch.jit.load(str(self.path), map_location="cpu")
        return build_model(archive.state_dict(), torch.float32).visual

    def features(self, images: Tensor) -> Tensor:
        return self.network(standardised(resized(images, self.size), *CLIPS)).float()
