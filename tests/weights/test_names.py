"""What RUN may be, and what is said of what is none."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from common import ROOT, untrained

from zoo.use import published
from zoo.use.publish import weights_of
from zoo.weights import folder, names

LICENCES = {"cc-by-sa-3.0", "cc-by-4.0", "cc0-1.0", "mit"}  # that allow to pass weights on


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write(tmp_path / "w", weights_of(untrained("vanilla"), {}), card="", pictures={})
    assert names.find(tmp_path / "w") == tmp_path / "w"
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for name in ("last.ckpt", "best.ckpt"):
        (tmp_path / "run" / "checkpoints" / name).touch()
        assert names.find(tmp_path / "run").name == name
    monkeypatch.setattr(names, "PUBLISHED", tmp_path)
    monkeypatch.chdir(tmp_path / "run")
    assert names.find("w") == tmp_path / "w"
    (tmp_path / "run" / "w").touch()
    assert names.find("w") == Path("w"), "what lies here goes before a published name"


def test_what_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dcgan-digits", "cgan-digits", "vanilla-digits"):
        folder.write(tmp_path / name, weights_of(untrained("vanilla"), {}), card="", pictures={})
    monkeypatch.setattr(names, "PUBLISHED", tmp_path)
    with pytest.raises(ValueError, match=re.escape("did you mean dcgan-digits or cgan-digits? (zoo list)")):
        names.find("dcgan_digits")
    with pytest.raises(ValueError, match=re.escape("did you mean dcgan-digits or cgan-digits? (zoo list)")):
        names.find("DCGAN-Digits")
    with pytest.raises(
        ValueError, match=re.escape("published are cgan-digits, dcgan-digits, vanilla-digits (zoo list)")
    ):
        names.find("qqqqqqqqqq")
    with pytest.raises(ValueError, match="no checkpoint in") as error:
        names.find("\x1b[2J" + "x" * 1_000 + "\0")
    assert str(error.value).isprintable()
    with pytest.raises(ValueError, match=r"^no checkpoint in .*: give a run's folder with .*, a weights folder"):
        names.find(tmp_path)


# Those that come with this package ------------------------------------------------------------------------------------


def test_published_weights_are_small_whole_and_licensed() -> None:
    found = names.published()
    files = [path for path in names.PUBLISHED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 16_000_000
    for name, place in found.items():
        assert {path.name for path in place.iterdir()} == {
            "README.md",
            "config.json",
            "model.safetensors",
            "samples.png",
        }
        assert (place / folder.TENSORS).stat().st_size <= 3_000_000
        about = folder.read_config(place)["about"]
        assert about["licence"] in LICENCES
        assert (about["name"], about["load"]) == (name, name)
        assert about["figures"]
        assert about["headline"]
        of_intervals = [figure for figure in about["figures"].values() if "low" in figure]  # some have none
        assert all(figure["low"] <= figure["value"] <= figure["high"] for figure in of_intervals)
        assert (about["bits"] == 16) == ("figures_in_32_bits" in about)
        text = (place / "README.md").read_text() + (place / "config.json").read_text()
        assert not re.search(r"/(home|root|tmp|work|Users)\b", text)


def test_the_page_has_their_figures() -> None:
    page = (ROOT / "docs" / "weights.md").read_text()
    assert "\n".join(published.table()) in page, "python benchmarks/published.py --only-table writes it"


def test_zoo_list_shows_them_without_torch() -> None:
    code = (
        "import sys; from zoo.use.published import rows; print(*rows(), sep='\\n'); assert 'torch' not in sys.modules"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in printed.splitlines()] == list(names.published())
