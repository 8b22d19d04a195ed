"""Quirks of libraries, as a user meets them."""

import warnings
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
from lightning.pytorch.callbacks import LambdaCallback

from zoo.game import quirks


def test_a_warning_to_the_user_is_its_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is asked for; of others file and line stay."""
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    for _ in range(2):
        quirks.plain_warnings()
    assert warnings.formatwarning("a sentence", UserWarning, "zoo/file.py", 3) == "a sentence\n"
    assert "zoo/file.py:3" in warnings.formatwarning("old", DeprecationWarning, "zoo/file.py", 3)


class Acting(L.Callback):
    def on_after_backward(self, *args: Any) -> None: ...


@dataclass(frozen=True)
class Frozen(L.Callback):
    of: int = 3


class Model(L.LightningModule):
    def on_before_backward(self, *args: Any) -> None: ...


def test_empty_hooks_are_taken_away_and_no_others() -> None:
    """Those that an instance was given are its own."""
    given, acting, frozen, model = LambdaCallback(on_before_backward=print), Acting(), Frozen(), Model()
    quirks.call_no_empty_hooks(SimpleNamespace(callbacks=[given, acting, frozen]), model)
    assert given.on_before_backward is print
    for taken in (given.on_after_backward, acting.on_before_backward, frozen.on_after_backward):
        assert taken is None
    for kept in (acting.on_after_backward, acting.on_fit_start, model.on_before_backward, model.on_fit_start):
        assert callable(kept)
    assert model.on_after_backward is None  # type: ignore[unreachable]
