"""Text from elsewhere, on one line."""

import pytest

from zoo.game.abilities import OfClasses, attributes_of, classes_of
from zoo.text import printable, shortened


@pytest.mark.parametrize(
    ("text", "said"),
    [("cat", "cat"), ("猫 ß", "猫 ß"), ("\x1b[31mred\n", "\\x1b[31mred\\n"), ("a\udcff", "a\\udcff"), ("", "")],
)
def test_printable(text: str, said: str) -> None:
    assert printable(text) == said


def test_shortened() -> None:
    assert shortened("x" * 80) == "x" * 80
    assert shortened("x" * 81) == "x" * 77 + "..."


def test_names_of_a_checkpoint_are_printable_text() -> None:
    class Model:
        classes, attributes = ["\x1b[31mred", 7], ["a\nb"]

    assert isinstance(Model(), OfClasses)
    assert classes_of(Model()) == ["\\x1b[31mred", "7"]
    assert attributes_of(Model()) == ["a\\nb"]
