"""What the tests of strangers' files share: networks of random weights, and this zoo's network with weights read."""

from typing import Any

import torch
from common import make
from torch import Tensor, nn

from zoo.formats import Foreign


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """Each weight and statistic by chance, so that one that is dropped or swapped changes the output; in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    state = network.state_dict()
    for name, tensor in state.items():
        noise = torch.randn(tensor.shape, generator=generator)
        if tensor.dim() == 4:
            state[name] = 1.5 * noise / tensor[0].numel() ** 0.5
        elif name.endswith("running_var"):
            state[name] = noise.abs() + 0.5
        elif tensor.is_floating_point():
            state[name] = 0.3 * noise + name.endswith("weight")
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def built(foreign: Foreign) -> Any:
    """The variant that is composed of a stranger's settings, with the stranger's weights, each network whole."""
    values = {name: "null" if value is None else value for name, value in foreign.settings.items()}
    model = make(foreign.variant, *[f"{name}={value}" for name, value in values.items()])
    for network in {name.partition(".")[0] for name in foreign.weights}:
        prefix = f"{network}."
        state = {name.removeprefix(prefix): w for name, w in foreign.weights.items() if name.startswith(prefix)}
        getattr(model, network).load_state_dict(state, strict=True)
    return model.eval().requires_grad_(False)


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert expected.std() > 1e-2, "the reference makes something of its input"
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def without(state: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    assert state.keys() >= set(names)
    return {name: tensor for name, tensor in state.items() if name not in names}
