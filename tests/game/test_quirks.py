"""Quirks of libraries, as a user meets them."""

import warnings

import pytest

from zoo.game import quirks


def test_a_warning_to_the_user_is_its_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is asked for; of others file and line stay."""
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    for _ in range(2):
        quirks.plain_warnings()
    assert warnings.formatwarning("a sentence", UserWarning, "zoo/file.py", 3) == "a sentence\n"
    assert "zoo/file.py:3" in warnings.formatwarning("old", DeprecationWarning, "zoo/file.py", 3)
