"""A learned encoder, images -> styles: inverts a generator at once, where a search takes minutes.

After the domain-guided encoder of Zhu et al. 2020 (arXiv:2004.00049, section 2.1): trained through the fixed generator,
on real images where there are some, by how near their reconstructions are. Without real images it is trained on the
generator's own, of which it also learns the styles: the regression of Zhu et al. 2016 (arXiv:1609.03552, section 3.1).

Symbols
    w      style, as in zoo/use/styles.py; m and s are its mean and its standard deviation over all numbers
    E      encoder, image -> w = m + s * network(image)
    x      the generator's image of w; r a real image

    minimise  |E(x) - w|^2 / (s^2 d)  +  lambda (distance(G(E(x)), x) + distance(G(E(r)), r))

Departs: no discriminator judges reconstructions; the distance is that of zoo/use/styles.py, in place of VGG's
features; one w for all layers, since W+ is nearer to an image and less good to edit: the search goes there on request.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.batch import from_bytes
from zoo.game.abilities import Styles
from zoo.use.pictures import whole
from zoo.use.styles import Activations, Track, perceptual, pixels, render, spread

BATCH = 16
LAMBDA = 10.0  # weight of the distances of images, which are hundredths where those of styles are near 1
HELD_OUT = range(10**6, 10**6 + 128)  # seeds that no encoder is trained on


class Encoder(nn.Module):
    """Convolutions that halve an image until 4 pixels are left, then one linear map.

    Args:
        shape: channels, height and width of the images.
        w_dim: numbers of a style.
        width: channels of the first layer; each halving doubles them, up to 8 times as many.
    """

    def __init__(self, shape: Sequence[int], w_dim: int, width: int = 32) -> None:
        super().__init__()
        self.shape, self.w_dim, self.width = tuple(shape), w_dim, width
        channels, height, width_of_image = shape
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2)]
        c, side = width, min(height, width_of_image)
        while side > 4:
            wider = min(2 * c, 8 * width)
            layers += [nn.Conv2d(c, wider, 3, stride=2, padding=1), nn.GroupNorm(8, wider), nn.LeakyReLU(0.2)]
            c, side = wider, -(-side // 2)
        self.network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * c, w_dim))
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(w_dim))
        self.register_buffer("deviation", torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] -> w [N, w_dim]."""
        return self.mean + self.deviation * self.network(images)

    def save(self, path: Path, **about: str) -> None:
        """As safetensors, with its sizes in the metadata."""
        sizes = json.dumps({"shape": self.shape, "w_dim": self.w_dim, "width": self.width})
        with whole(path) as part:
            tensors = {name: tensor.cpu().contiguous() for name, tensor in self.state_dict().items()}
            save_file(tensors, part, {"encoder": sizes, **about})

    @classmethod
    def load(cls, path: Path, shape: Sequence[int], w_dim: int) -> "Encoder":
        """Of a file that `save` wrote; a ValueError if it is not one, or is of a model of another shape or w_dim."""
        remedy = "give a file that `zoo encoder` wrote for this model"
        if not path.is_file():
            raise ValueError(f"--encoder={path} does not exist: make it, zoo encoder RUN -o {path}")
        try:
            with safe_open(path, framework="pt") as file:
                sizes = json.loads((file.metadata() or {}).get("encoder", "null"))
                if sizes is None:
                    raise ValueError(f"{path} has other content: {remedy}")
                if sizes != {"shape": list(shape), "w_dim": w_dim, "width": sizes.get("width")}:
                    raise ValueError(
                        f"{path} is of a model with images of {sizes.get('shape')} (channels, height, width) and "
                        f"{sizes.get('w_dim')} numbers a style, and this one has {list(shape)} and {w_dim}: {remedy}"
                    )
                if not isinstance(sizes["width"], int) or not 8 <= sizes["width"] <= 512 or sizes["width"] % 8:
                    raise ValueError(f"{path} has no width that an encoder has: {remedy}")
                encoder = cls(shape, w_dim, sizes["width"])
                tensors = {name: file.get_tensor(name) for name in list(file.keys())}
        except (OSError, SafetensorError, AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} can't be read ({error}): {remedy}") from None
        try:
            encoder.load_state_dict(tensors)
        except RuntimeError:
            raise ValueError(f"{path} has other weights than an encoder of these sizes: {remedy}") from None
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise ValueError(f"{path} has weights that are no numbers (NaN or infinite): {remedy}")
        return encoder.eval().requires_grad_(False)


def train(
    model: Styles, *, steps: int = 2000, images: Tensor | None = None, activations: Activations | None = None,
    label: int | None = None, width: int = 32, seed: int = 0, track: Track = iter,
) -> Encoder:  # fmt: skip
    """An encoder for a model, by Adam at 0.001, which falls as a cosine to 0; batches of 16 and as many real images.

    Args:
        images: real ones, uint8 [M, C, H, W], or None.
        activations: what compares images beside their pixels.
        label: the class, for class-conditional models; None: each seed its own.
        seed: of the encoder's weights, its latents, and the order of real images.
    """
    w = spread(model, label=label)
    deviation = float((w - w.mean(0)).square().mean().sqrt())
    like = styles_of(model, [0], label)
    shape = model.from_styles(like).shape[1:]
    if images is not None and images.shape[1:] != shape:
        raise ValueError(f"the images are {list(images.shape[1:])}, and this model makes {list(shape)}: resize them")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = Encoder(shape, w.shape[1], width).to(like)
    encoder.mean.copy_(w.mean(0))
    encoder.deviation.fill_(deviation)
    adam = torch.optim.Adam(encoder.network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(steps, 1))
    random = torch.Generator().manual_seed(seed)

    def distance(fake: Tensor, real: Tensor) -> Tensor:
        apart = pixels(fake, real).mean()
        if activations is None:
            return apart
        with torch.no_grad():
            target = activations(real)
        return apart + perceptual(activations(fake), target).mean()

    encoder.train()
    with torch.enable_grad():
        for _ in track(range(steps)):
            ws = w[torch.randint(len(w), (BATCH,), generator=random)].to(like)
            with torch.no_grad():
                x = model.from_styles(expanded(ws, like)).clamp(-1, 1)
            batch = x
            if images is not None:
                some = torch.randint(len(images), (BATCH,), generator=random)
                batch = torch.cat([x, from_bytes(images[some]).to(x)])
            found = encoder(batch)
            loss = ((found[:BATCH] - ws) / deviation).square().mean()
            loss = loss + LAMBDA * distance(model.from_styles(expanded(found, like)), batch)
            adam.zero_grad(set_to_none=True)
            loss.backward(inputs=list(encoder.network.parameters()))
            adam.step()
            schedule.step()
    return encoder.eval().requires_grad_(False)


def styles_of(model: Styles, seeds: Sequence[int], label: int | None) -> Tensor:
    """ws [N, num_ws, w_dim] of seeds."""
    return model.styles(list(seeds), None if label is None else [label] * len(seeds)).detach()


def expanded(w: Tensor, like: Tensor) -> Tensor:
    """w [N, w_dim] for each layer, as `like` [1, num_ws, w_dim] has them."""
    return w[:, None].expand(-1, like.shape[1], -1)


@torch.no_grad()
def quality(model: Styles, encoder: Encoder, label: int | None = None) -> tuple[float, float]:
    """On images of seeds that it was not trained on: the share of the variance of w that it explains, and the mean
    PSNR of the reconstructions, dB."""
    ws = styles_of(model, HELD_OUT, label)
    x = render(model, ws)
    found, w = invert(encoder, x, ws.shape[1]), ws[:, 0]
    explained = 1 - float((found[:, 0] - w).square().sum() / (w - w.mean(0)).square().sum().clamp(min=1e-12))
    again = render(model, found)
    errors = (again - x).square().mean((1, 2, 3)).clamp(min=1e-10) / 4
    return explained, float((-10 * errors.log10()).mean())


@torch.no_grad()
def invert(encoder: Encoder, images: Tensor, num_ws: int) -> Tensor:
    """Images [N, C, H, W] in [-1, 1] -> ws [N, num_ws, w_dim]."""
    found = torch.cat([encoder(part.to(encoder.mean)) for part in images.split(256)])
    return found[:, None].repeat(1, num_ws, 1)
