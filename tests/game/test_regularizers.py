"""Penalties against closed forms, an independent differentiation, and what precision and compilation may not change."""

import copy
import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.func import functional_call, grad, vmap

from zoo.game.augment import Augment, repeated
from zoo.game.regularizers import Regularizer, gradient_penalty, zero_centred
from zoo.run.config import table

OFF = {"r1": 0.0, "r2": 0.0, "gradient_penalty": 0.0, "every": 1}


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = stream(1)
    return torch.randn(shape, generator=generator, dtype=dtype), torch.randn(shape, generator=generator, dtype=dtype)


class Linear(nn.Module):
    """D(x) = w.x + b: its gradient is w, everywhere."""

    def __init__(self, *w: float) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.tensor(w, dtype=torch.float64)), nn.Parameter(torch.zeros(()))

    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(1) @ self.w + self.b


def smooth(channels: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(channels, 4, 3, 2, 1), nn.Tanh(), nn.Conv2d(4, 1, 2), nn.Flatten())


def test_r1_and_r2_of_a_linear_discriminator() -> None:
    """||w||^2 / 2, with gradient w."""
    real, fake = images(5, 1, 1, 2)
    for image in (real, fake):
        D = Linear(3.0, 4.0)
        value = zero_centred(D, image)
        value.backward()
        assert value.item() == pytest.approx(12.5)
        torch.testing.assert_close(D.w.grad, D.w.detach())


def test_gradient_penalty_of_a_linear_discriminator() -> None:
    """(||w|| - 1)^2, with gradient 2 (||w|| - 1) w / ||w||: also below 1, the penalty has two sides."""
    real, fake = images(5, 1, 1, 2)
    for w, value, gradient in ((3.0, 4.0), 16.0, (4.8, 6.4)), ((0.3, 0.4), 0.25, (-0.6, -0.8)):
        D = Linear(*w)
        penalty = gradient_penalty(D, real, fake, generator=stream())
        penalty.backward()
        assert penalty.item() == pytest.approx(value)
        assert D.w.grad.tolist() == pytest.approx(gradient)


def test_penalties_look_where_they_say() -> None:
    """D(x) = ||x||^2 / 2 has gradient x: each penalty tells at which images it was taken."""
    D = lambda x: x.square().flatten(1).sum(1) / 2
    real, fake = images(6, 2, 3, 1)
    squares = lambda x: x.square().flatten(1).sum(1)
    torch.testing.assert_close(zero_centred(D, real), squares(real).mean() / 2)
    torch.testing.assert_close(zero_centred(D, fake), squares(fake).mean() / 2)
    e = torch.rand(6, 1, 1, 1, generator=stream(7)).double()  # one number for each image
    between = e * real + (1 - e) * fake
    expected = (squares(between).sqrt() - 1).square().mean()
    torch.testing.assert_close(gradient_penalty(D, real, fake, generator=stream(7)), expected)


@pytest.mark.parametrize("size", [4, 8], ids=["one logit", "nine patches"])
def test_values_and_weight_gradients_against_another_differentiation(size: int) -> None:
    """torch.func, image by image, instead of autograd on the batch; several patches count as their mean."""
    D = smooth().double()
    real, fake = images(3, 1, size, size)
    assert D(real).shape == (3, {4: 1, 8: 9}[size])
    e = torch.rand(3, 1, 1, 1, generator=stream()).double()
    between = e * real + (1 - e) * fake

    def slopes(weights: dict[str, Tensor], batch: Tensor) -> Tensor:
        value = lambda image: functional_call(D, weights, (image[None],)).mean()
        return vmap(grad(value))(batch).flatten(1)

    references = {
        "r1": lambda weights: 0.5 * (slopes(weights, real) ** 2).sum(1).mean(),
        "r2": lambda weights: 0.5 * (slopes(weights, fake) ** 2).sum(1).mean(),
        "gradient_penalty": lambda weights: (((slopes(weights, between) ** 2).sum(1) ** 0.5 - 1) ** 2).mean(),
    }
    penalties = {
        "r1": zero_centred(D, real),
        "r2": zero_centred(D, fake),
        "gradient_penalty": gradient_penalty(D, real, fake, generator=stream()),
    }
    weights = {name: value.detach() for name, value in D.named_parameters()}
    for name, reference in references.items():
        torch.testing.assert_close(penalties[name], reference(weights))
        gradients = torch.autograd.grad(penalties[name], list(D.parameters()), allow_unused=True)
        for gradient, expected in zip(gradients, grad(reference)(weights).values(), strict=True):  # type: ignore[arg-type]
            torch.testing.assert_close(torch.zeros_like(expected) if gradient is None else gradient, expected)


def test_a_patchgan_counts_as_the_mean_of_its_patches() -> None:
    """Four patches that see one pixel each, with slope w: the mean's gradient is w / 4 at each pixel."""
    D = nn.Conv2d(1, 1, 1).double()
    real, _ = images(5, 1, 2, 2)
    assert D(real).shape == (5, 1, 2, 2)
    torch.testing.assert_close(zero_centred(D, real), 0.5 * 4 * (D.weight.detach().squeeze() / 4) ** 2)


def test_interpolation_follows_the_generator_alone() -> None:
    D, (real, fake) = smooth().double(), images(4, 1, 8, 8)
    state, generator = torch.get_rng_state(), stream(3)
    first, second = (gradient_penalty(D, real, fake, generator=generator).item() for _ in range(2))
    assert first != second
    assert first == gradient_penalty(D, real, fake, generator=stream(3)).item()
    assert first != gradient_penalty(D, real, fake, generator=stream(4)).item()
    assert torch.equal(state, torch.get_rng_state())


def test_a_flat_discriminator_has_finite_gradients() -> None:
    D, (real, fake) = Linear(0.0, 0.0), images(4, 1, 1, 2)
    gradient_penalty(D, real, fake, generator=stream()).backward()
    assert D.w.grad.isfinite().all()


def test_images_and_generator_are_left_alone() -> None:
    real, fake = images(4, 1, 8, 8)
    fake.requires_grad_()
    regularizer = Regularizer(r1=1.0, r2=1.0, gradient_penalty=1.0, every=1)
    sum(regularizer(smooth().double(), real, fake, turn=1, generator=stream()).values()).backward()  # type: ignore[union-attr]
    assert fake.grad is None
    assert not real.requires_grad


def test_terms_are_weight_times_penalty() -> None:
    D, (real, fake) = Linear(3.0, 4.0), images(5, 1, 1, 2)
    terms = Regularizer(r1=10.0, r2=2.0, gradient_penalty=0.5, every=1)(D, real, fake, turn=1, generator=stream())
    assert {name: term.item() for name, term in terms.items()} == {"r1": 125.0, "r2": 25.0, "gradient_penalty": 8.0}
    for name in ("r1", "r2", "gradient_penalty"):
        only = Regularizer(**{**OFF, name: 1.0})  # type: ignore[arg-type]
        assert only(D, real, fake, turn=1, generator=stream()).keys() == {name}


def test_off_is_no_term_and_no_forward() -> None:
    def D(image: Tensor) -> Tensor:
        raise AssertionError

    regularizer = Regularizer(**OFF)  # type: ignore[arg-type]
    assert [regularizer(D, *images(2, 2), turn=turn, generator=stream()) for turn in (1, 2)] == [{}, {}]


def test_laziness_keeps_the_mean_over_turns() -> None:
    D, (real, fake) = Linear(3.0, 4.0), images(5, 1, 1, 2)
    lazy = Regularizer(r1=2.0, r2=0.0, gradient_penalty=0.0, every=4)
    terms = [lazy(D, real, fake, turn=turn, generator=stream()) for turn in range(1, 13)]
    assert [turn for turn, term in enumerate(terms, start=1) if term] == [1, 5, 9]
    assert sum(term["r1"].item() for term in terms if term) / 12 == pytest.approx(2.0 * 12.5)


def test_float32_under_autocast() -> None:
    D, (real, fake) = smooth(), images(4, 1, 8, 8, dtype=torch.float32)
    regularizer = Regularizer(r1=1.0, r2=1.0, gradient_penalty=1.0, every=1)

    def gradients(real: Tensor, fake: Tensor) -> list[Tensor]:
        objective = sum(regularizer(D, real, fake, turn=1, generator=stream()).values())
        assert objective.dtype == torch.float32  # type: ignore[union-attr]
        return [g for g in torch.autograd.grad(objective, list(D.parameters()), allow_unused=True) if g is not None]  # type: ignore[arg-type]

    expected = gradients(real, fake)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert D(real).dtype == torch.bfloat16
        for gradient, reference in zip(gradients(real, fake), expected, strict=True):
            assert torch.equal(gradient, reference)
        gradients(real, fake.bfloat16())  # as G makes them under autocast


def test_a_compiled_discriminator() -> None:
    """The same terms and gradients as eager; the compiled network is compiled once, and used again afterwards."""
    eager, (real, fake) = smooth(), images(4, 1, 8, 8, dtype=torch.float32)
    compiled, counter = copy.deepcopy(eager), CompileCounterWithBackend("aot_eager")
    torch.compiler.reset()
    compiled.compile(backend=counter)
    regularizer = Regularizer(r1=1.0, r2=1.0, gradient_penalty=1.0, every=1)
    for _ in range(2):
        for D in (eager, compiled):
            D.zero_grad()
            terms = regularizer(lambda image, D=D: D(image), real, fake, turn=1, generator=stream())  # type: ignore[misc]
            (D(real).mean() + sum(terms.values())).backward()
        for parameter, reference in zip(compiled.parameters(), eager.parameters(), strict=True):
            torch.testing.assert_close(parameter.grad, reference.grad)
    assert counter.frame_count == 1


def test_spectral_normalisation_under_the_penalty() -> None:
    """A spectrally normalised linear D has slope 1: the gradient penalty is 0, R1 is 1/2."""
    torch.manual_seed(0)
    D = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 1, bias=False), n_power_iterations=5)
    real, fake = images(3, 4, dtype=torch.float32)
    assert zero_centred(D, real).item() == pytest.approx(0.5, abs=1e-5)
    assert gradient_penalty(D, real, fake, generator=stream()).item() == pytest.approx(0.0, abs=1e-5)


def through(D: nn.Module, **augment: Any) -> tuple[Augment, Tensor, Tensor, Tensor, Tensor]:
    """T with these transformations, and 6 pairs of images before and after it."""
    T = Augment(**{**table("augment")["none"], "probability": 1.0, **augment})
    T.generator = stream(2)
    real, fake = images(6, 1, 8, 8)
    T.begin_turn(remember=True)
    return T, real, fake, T(real), T(fake)


def test_at_the_image_it_is_the_gradient_through_the_augmentation() -> None:
    """T(x) = c x has the gradient c w where D has w: E[c^2] ||w||^2 / 2, for R1 and R2; at T(x) it is ||w||^2 / 2."""
    D = Linear(*torch.linspace(-1, 1, 64).tolist())
    T, real, fake, *shown = through(D, contrast=1.0)
    squares = [(T_x / x).flatten(1)[:, 0].square().mean() for x, T_x in zip((real, fake), shown, strict=True)]
    assert (squares[0] - squares[1]).abs() > 0.1
    for at, factors in ("image", squares), ("augmented", [1.0, 1.0]):
        regularizer = Regularizer(r1=1.0, r2=1.0, gradient_penalty=0.0, every=1, at=at)  # type: ignore[arg-type]
        terms = regularizer(D, *shown, turn=1, generator=stream(), T=T)
        for term, factor in zip(terms.values(), factors, strict=True):
            torch.testing.assert_close(term, factor * D.w.square().sum() / 2, check_dtype=False)


@pytest.mark.parametrize("policy", ["ada", "diffaugment"])
def test_penalties_through_every_transformation_against_another_differentiation(policy: str) -> None:
    """torch.func of D after T, whose stream begins where it began: values and D's gradients, of all three penalties."""
    D = smooth().double()
    T, real, fake, *shown = through(D, **{**table("augment")[policy], "probability": 0.8})
    before = stream(2)
    again = Augment(**{**table("augment")[policy], "probability": 0.8})

    def slope(weights: dict[str, Tensor], x: Tensor, generator: torch.Generator) -> Tensor:
        value = lambda x: functional_call(D, weights, (again(x, generator),)).mean(1).sum()
        return grad(value)(x).flatten(1)

    of_real, of_fake = stream(2), before
    again(fake, of_fake)  # T(x) came first
    e = torch.rand(6, 1, 1, 1, generator=stream()).double()
    between = e * real + (1 - e) * fake
    references = {
        "r1": lambda weights: slope(weights, real, stream(2)).square().sum(1).mean() / 2,
        "r2": lambda weights: slope(weights, fake, repeated(of_fake)).square().sum(1).mean() / 2,
        "gradient_penalty": lambda weights: (slope(weights, between, of_real).norm(dim=1) - 1).square().mean(),
    }
    state = T.generator.get_state()
    terms = Regularizer(r1=1.0, r2=1.0, gradient_penalty=1.0, every=1, at="image")(
        D, *shown, turn=1, generator=stream(), T=T
    )
    assert torch.equal(T.generator.get_state(), state), "nothing is drawn"
    assert T.calls == 2
    weights = {name: value.detach() for name, value in D.named_parameters()}
    for name, reference in references.items():
        expected = dict(zip(weights, grad(reference)(weights).values(), strict=True))  # type: ignore[arg-type]
        gradients = torch.autograd.grad(terms[name], list(D.parameters()), allow_unused=True, retain_graph=True)
        for gradient, of_reference in zip(gradients, expected.values(), strict=True):
            actual = torch.zeros_like(of_reference) if gradient is None else gradient
            torch.testing.assert_close(actual, of_reference, rtol=1e-4, atol=1e-6)


def test_images_that_augmentation_did_not_make_are_refused_at_the_image() -> None:
    D = smooth().double()
    T, real, fake, *shown = through(D, flip=True)
    for wrong in (real, shown[1]), (shown[0].clone(), shown[1]):
        with pytest.raises(
            ValueError, match=r"what self\.T returned, as it is, or set model\.regularizer\.at=augmented"
        ):
            Regularizer(**OFF | {"r1": 1.0})(D, *wrong, turn=1, generator=stream(), T=T)  # type: ignore[arg-type]
    Regularizer(**OFF | {"r1": 1.0}, at="augmented")(D, real, fake, turn=1, generator=stream(), T=T)  # type: ignore[arg-type]
    T.end_turn()
    with pytest.raises(ValueError, match="none of this turn's"):
        T.origin(shown[0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"r1": -1.0}, r"regularizer.r1=-1.0 must not be negative"),
        ({"gradient_penalty": float("nan")}, r"regularizer.gradient_penalty=nan"),
        ({"every": 0}, r"regularizer.every=0 must be 1 or more"),
        ({"every": 1.5}, r"regularizer.every=1.5"),
        ({"at": "shown"}, r"regularizer.at=shown must be one of image, augmented"),
    ],
)
def test_mistakes(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Regularizer(**{**OFF, **wrong})  # type: ignore[arg-type]


def test_unpaired_batches_are_refused() -> None:
    real, fake = images(4, 1, 8, 8)
    with pytest.raises(AssertionError, match="can't be paired"):
        gradient_penalty(smooth().double(), real, fake[:1], generator=stream())


@pytest.mark.parametrize(("name", "settings"), table("regularizer").items())
def test_configuration(name: str, settings: dict[str, Any]) -> None:
    """The YAML is the one home of each number: all keys, no other, and those that the name says are on."""
    assert settings.keys() == inspect.signature(Regularizer).parameters.keys()
    assert all(isinstance(settings[name], float) for name in ("r1", "r2", "gradient_penalty"))  # so that 0.5 fits
    on = {"none": set(), "r1_lazy": {"r1"}, "r1_r2": {"r1", "r2"}}.get(name, {name})
    assert {key for key in ("r1", "r2", "gradient_penalty") if settings[key]} == on
    Regularizer(**settings)
