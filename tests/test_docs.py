"""What the pages show is what there is: docs/extend.md's example is trained, README's excerpts are cut out of files."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from common import ROOT, compose
from hydra.utils import instantiate

import zoo


def blocks(page: str) -> dict[str, str]:
    """The files that a page shows: a name in backquotes before each block of Python or YAML."""
    return dict(re.findall(r"`((?:zoo|conf)/[\w/.]+)`[^\n]*:\n\n```(?:python|yaml)\n(.*?)```", page, flags=re.DOTALL))


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_example_of_a_new_variant_trains_and_is_sampled_by_category(tmp_path: Path) -> None:
    files = blocks((ROOT / "docs" / "extend.md").read_text())
    assert files.keys() == {"zoo/model/infogan.py", "conf/model/infogan.yaml"}
    assert len(files["zoo/model/infogan.py"].splitlines()) <= 90
    assert len(files["conf/model/infogan.yaml"].splitlines()) <= 12
    for name in ("zoo", "conf", "train.py"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    for name, text in files.items():
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(text)
    small = ["model=infogan", "data=digits", "data.image_size=16", "model.width=4", "data.batch_size=16", "trainer=cpu"]
    more = ["max_images=64", "regularizer=r1", "augment=ada", "metrics.num_fake=20", "metrics.num_real=30"]
    run(tmp_path, "train.py", *small, *more, "hydra.run.dir=run")
    assert {"last.ckpt", "best.ckpt"} <= {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    command = "import sys; from zoo.cli import main; sys.argv = ['zoo', *sys.argv[1:]]; main()"
    output = run(tmp_path, "-c", command, "sample", "run", "--label", "3", "-n", "2", "-o", "three")
    assert "2 images of each of 3" in output
    assert len(list((tmp_path / "three").rglob("*.png"))) == 2
    run(tmp_path, "train.py", "resume=run", "max_images=96")


@pytest.mark.parametrize("shown", ["README.md"])
def test_the_readmes_excerpt_is_dcgans_training_step(shown: str) -> None:
    file = ROOT / "zoo" / "model" / "dcgan.py"
    assert Path(zoo.__file__).parent == ROOT / "zoo"
    methods = {node.name: node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}
    step = methods["training_step"]
    lines = file.read_text().splitlines()[step.lineno - 1 : step.end_lineno]
    excerpt = "\n".join(line[4:] for line in lines)
    assert f"```python\n{excerpt}\n```" in (ROOT / shown).read_text()


def rows_of_sizes() -> list[tuple[str, ...]]:
    """The README's table of what scale= builds: the settings, and a cell for each scale."""
    row = r"^\| `(model=[^`]+)`[^|]* \| ([\d., ]+) \(\d+\) \| ([\d., ]+) \(\d+\) \| ([\d., ]+) \(\d+\) \|$"
    return re.findall(row, (ROOT / "README.md").read_text(), flags=re.MULTILINE)


def test_the_readme_shows_some_sizes() -> None:
    assert len(rows_of_sizes()) == 7


@pytest.mark.parametrize("row", rows_of_sizes(), ids=lambda row: row[0])
def test_the_readmes_sizes_are_what_is_built(row: tuple[str, ...]) -> None:
    settings, *cells = row
    for scale, cell in zip(("small", "medium", "paper"), cells, strict=True):
        config = compose(*settings.split(), f"scale={scale}", "metrics=none", "run_dir=x")
        ten = {"classes": list("0123456789")} if settings.startswith("model=cgan ") else {}  # CIFAR-10's
        with torch.device("meta"):
            players = instantiate(config.model, **ten, _convert_="all").players()
        sizes = {name: sum(p.numel() for p in networks[0].parameters()) / 1e6 for name, networks in players.items()}
        assert cell == f"{sizes['G']:.2f}, {sizes['D']:.2f}"
