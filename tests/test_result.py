"""result.json: written whole, read as a stranger's file."""

import json
from pathlib import Path
from typing import Any

import pytest

from zoo.result import Result


def test_what_is_written_is_read(tmp_path: Path) -> None:
    values = {"images": 32, "fid": 3.5, "nan": float("inf")}
    result = Result(
        folder=tmp_path,
        state="finished",
        images=64,
        metric="fid",
        best=3.5,
        values=values,
        last={"images": 64, "fid": 4},
    )
    assert Result.read(tmp_path) is None
    result.write()
    assert Result.read(tmp_path) == result


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "3",
        "[" * 100_000,
        "{}" + " " * 1_000_000,
        b"\xff",
        {"state": "finished"},
        {"state": "finished", "images": "many"},
        {"state": 3, "images": 3},
        {"state": "finished", "images": 3, "values": [1]},
        {"state": "finished", "images": 3, "last": {"fid": "x"}},
        {"state": "finished", "images": 3, "best": "x"},
        {"state": "finished", "images": 3, "best": 10**400},
        {"state": "finished", "images": 3, "surprise": 3},
        {"state": "finished", "images": 3, "higher_is_better": 1},
    ],
)
def test_a_damaged_file_is_a_sentence(content: Any, tmp_path: Path) -> None:
    text = content if isinstance(content, str) else json.dumps(content, default=str)
    (tmp_path / "result.json").write_bytes(content if isinstance(content, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"result\.json is damaged"):
        Result.read(tmp_path)
