"""CycleGAN's objective, order and history against a plain reference."""

import copy

import pytest
import torch
from common import compose, make, pairs, train_on
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from zoo.game.history import History
from zoo.model.cyclegan import CycleGAN

TINY = ["data.image_size=16", "model.width=2", "model.blocks=1", "model.discriminator_width=2"]


def gan(*overrides: str) -> CycleGAN:
    torch.manual_seed(0)
    return make("cyclegan", *TINY, *overrides)


def test_the_terms_are_the_papers() -> None:
    """Eq. (3) with least squares, and the identity term of section 5.2, from passes of their own."""
    model, batch = gan("model.cycle=3", "model.identity=0.25"), pairs()
    G, F, D_X, D_Y = copy.deepcopy((model.G, model.F, model.D_X, model.D_Y))
    train_on(model, [batch])
    x, y = batch.x, batch.y
    with torch.no_grad():
        ones = lambda logit: mse_loss(logit, torch.ones_like(logit))
        zeros = lambda logit: mse_loss(logit, torch.zeros_like(logit))
        expected = {
            "G/adversarial": ones(D_Y(G(x))) + ones(D_X(F(y))),
            "G/cycle": 3 * (l1_loss(F(G(x)), x) + l1_loss(G(F(y)), y)),
            "G/identity": 0.25 * 3 * (l1_loss(G(y), y) + l1_loss(F(x), x)),
            "D/adversarial": (ones(D_Y(y)) + zeros(D_Y(G(x))) + ones(D_X(x)) + zeros(D_X(F(y)))) / 2,
        }
    for name, value in expected.items():
        assert model.run_log.latest[name] == pytest.approx(value.item(), rel=1e-4), name


@pytest.mark.parametrize("norm", ["instance", "instance_affine", "batch"])
def test_steps_are_those_of_a_plain_loop(norm: str) -> None:
    """Separate passes, toggled gradients, a history written image by image: the same weights after six steps."""
    model, batches = gan("model.history=3", "max_images=12", f"model.norm={norm}"), [pairs() for _ in range(6)]
    model.to(memory_format=torch.channels_last)
    G, F, D_X, D_Y = copy.deepcopy((model.G, model.F, model.D_X, model.D_Y))
    generators, discriminators = [*G.parameters(), *F.parameters()], [*D_X.parameters(), *D_Y.parameters()]
    opt_G, opt_D = (torch.optim.Adam(p, lr=2e-4, betas=(0.5, 0.999)) for p in (generators, discriminators))
    rng = torch.Generator()
    rng.set_state(model.rng.get_state())
    pools: dict[str, list[Tensor]] = {"x": [], "y": []}

    def query(pool: list[Tensor], images: Tensor) -> Tensor:
        draws, shown = torch.rand(len(images), 2, generator=rng), []
        for image, draw in zip(images.detach().clone(), draws, strict=True):
            if len(pool) < 3:
                pool.append(image)
                shown.append(image)
            elif draw[0] >= 0.5:
                k = int(draw[1] * 3)
                shown.append(pool[k])
                pool[k] = image
            else:
                shown.append(image)
        return torch.stack(shown)

    for step, (x, y) in enumerate((b.x, b.y) for b in batches):
        rate = 2e-4 * min(1.0, (12 - 2 * step) / 6)  # constant for 6 of 12 images, then linearly to 0
        for group in (*opt_G.param_groups, *opt_D.param_groups):
            group["lr"] = rate
        for p in discriminators:
            p.requires_grad_(False)
        fake_y, same_y, fake_x, same_x = G(x), G(y), F(y), F(x)
        loss = (D_Y(fake_y) - 1).square().mean() + (D_X(fake_x) - 1).square().mean()
        loss = loss + 10 * (F(fake_y) - x).abs().mean() + 10 * (G(fake_x) - y).abs().mean()
        loss = loss + 5 * (same_y - y).abs().mean() + 5 * (same_x - x).abs().mean()
        opt_G.zero_grad()
        loss.backward()
        opt_G.step()
        for p in discriminators:
            p.requires_grad_(True)
        opt_D.zero_grad()
        for D, real, fake, pool in ((D_X, x, fake_x, pools["x"]), (D_Y, y, fake_y, pools["y"])):
            shown = query(pool, fake)
            (((D(real) - 1).square().mean() + D(shown).square().mean()) / 2).backward()
        opt_D.step()

    initial = copy.deepcopy(model.state_dict())
    train_on(model, batches)
    for name, network in {"G": G, "F": F, "D_X": D_X, "D_Y": D_Y}.items():
        for key, value in network.state_dict().items():
            trained = model.state_dict()[f"{name}.{key}"]
            torch.testing.assert_close(trained, value, rtol=0, atol=2e-5, msg=f"{name}.{key}")
            if norm == "instance" or value.dim() == 4:  # some scales and shifts hardly move
                assert (trained - initial[f"{name}.{key}"]).abs().max() > 2e-4
    for history, pool in ((model.history_x, pools["x"]), (model.history_y, pools["y"])):
        torch.testing.assert_close(torch.cat(history.images), torch.stack(pool), rtol=0, atol=1e-3)


def test_history_keeps_fifty_and_shows_half_old_ones() -> None:
    history, generator = History(50), torch.Generator().manual_seed(0)
    number = torch.arange(3000.0)[:, None, None, None]  # images that tell their number
    assert torch.equal(history(number[:50], generator), number[:50])
    shown = torch.cat([history(batch, generator) for batch in number[50:].split(7)]).flatten()
    itself = shown == number[50:].flatten()
    assert itself.float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert len(history.images) == 50
    old = shown[~itself].int().tolist()
    assert len(set(old)) == len(old), "an old image is shown once, then replaced"
    kept = {int(image) for image in history.images}
    replaced = set(number[50:].flatten()[~itself].int().tolist())
    assert kept == (set(range(50)) | replaced) - set(old)


def test_no_history_shows_the_newest() -> None:
    images, generator = torch.randn(4, 1, 2, 2, requires_grad=True), torch.Generator()
    shown = History(0)(images, generator)
    assert torch.equal(shown, images)
    assert not shown.requires_grad


def test_history_is_a_rank_s_own_state_and_no_part_of_the_weights() -> None:
    model = gan("model.history=3")
    train_on(model, [pairs(), pairs()])
    other = gan("model.history=3")
    other.load_rank_state(model.rank_state())
    assert len(other.history_x.images) == 3
    for loaded, image in zip(other.history_y.images, model.history_y.images, strict=True):
        assert torch.equal(loaded, image)
    assert not [name for name in model.state_dict() if "history" in name]


def test_learning_rate_is_constant_for_half_then_falls_to_zero() -> None:
    model = gan("max_images=100")
    assert [model.lr_scale("G", i) for i in (0, 50, 75, 100, 110)] == [1.0, 1.0, 0.5, 0.0, 0.0]
    late = gan("max_images=100", "model.decay_start=80")
    assert [late.lr_scale("D", i) for i in (80, 90)] == [1.0, 0.5]


def test_domains_of_different_channels_have_no_identity_term() -> None:
    model = gan("data.channels_y=1")
    train_on(model, [pairs(y=1)])
    assert "G/identity" not in model.run_log.latest
    previews = model.preview(pairs(y=1))
    assert [len(previews[name].panel) for name in ("X->Y", "Y->X")] == [3, 3]
    assert model.translate(torch.zeros(1, 1, 9, 9), "Y->X").shape == (1, 3, 9, 9)


def test_previews() -> None:
    """Both directions with the labels of what went in, round trips with their target, targets for aligned rows."""
    model, batch = gan(), pairs()._replace(label_x=torch.tensor([1, 2]), label_y=torch.tensor([3, 4]))
    with torch.no_grad():
        previews = model.preview(batch)
        aligned = model.preview(batch._replace(aligned=torch.ones(2, dtype=torch.bool)))
    assert [(p.label.tolist(), p.target) for p in (previews["X->Y"], previews["Y->X"])] == [  # type: ignore[union-attr]
        ([1, 2], None),
        ([3, 4], None),
    ]
    assert aligned["X->Y"].target is batch.y
    assert aligned["Y->X"].target is batch.x
    translated = model.translate(batch.x)
    back = model.translate(translated, "Y->X")
    torch.testing.assert_close(previews["X->Y"].fake, translated)
    torch.testing.assert_close(previews["X->Y->X"].fake, back)
    assert previews["X->Y->X"].target is batch.x
    expected = batch.x, translated, back, model.translate(batch.x, "Y->X")
    for shown, image in zip(previews["X->Y"].panel, expected, strict=True):
        torch.testing.assert_close(shown, image)


@pytest.mark.parametrize("generator", ["resnet", "unet"])
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 31), (50, 20)])
def test_translate_keeps_sizes(generator: str, size: tuple[int, int]) -> None:
    model = gan(f"model.generator={generator}", *["model.blocks=null"] * (generator == "unet"))
    for direction in ("X->Y", "Y->X"):
        image = model.translate(torch.rand(2, 3, *size) * 2 - 1, direction)
        assert image.shape == (2, 3, *size)
        assert image.abs().max() <= 1


def test_translate_refuses() -> None:
    with pytest.raises(ValueError, match="direction='x2y' must be X->Y or Y->X"):
        gan().translate(torch.zeros(1, 3, 8, 8), "x2y")
    with pytest.raises(ValueError, match=r"\[1, 1, 8, 8\] can't be translated X->Y: give \[N, 3, height, width\]"):
        gan().translate(torch.zeros(1, 1, 8, 8))


def test_average_of_both_generators() -> None:
    model = gan("model.ema_half_life=1_000")
    train_on(model, [pairs(), pairs(), pairs()])
    assert model.averaged
    assert not gan().averaged
    x = pairs().x
    with torch.no_grad():
        torch.testing.assert_close(model.translate(x), model.G_ema.module(x))
        assert not torch.equal(model.translate(x), model.G(x))


def test_numbers_out_of_range() -> None:
    for setting, message in (
        ("model.cycle=-1", "model.cycle=-1 must not be negative"),
        ("model.history=-1", "model.history=-1 must not be negative"),
        ("model.n_critic=0", "model.n_critic=0 must be 1 or more"),
        ("data.image_size=30", "image_size=30x30 does not fit this generator"),
    ):
        with pytest.raises(ValueError, match=message):
            make("cyclegan", setting)


def test_the_defaults_are_the_papers() -> None:
    settings = compose("model=cyclegan").model
    assert (settings.cycle, settings.identity, settings.history) == (10, 0.5, 50)
    assert (settings.lr.D, settings.lr.G, list(settings.betas)) == (0.0002, 0.0002, [0.5, 0.999])
    assert settings.loss == "least_squares"
