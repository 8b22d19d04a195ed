"""Who may import whom: few rooms, arrows that run one way."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = {"lightning", "hydra", "omegaconf", "wandb", "torchmetrics", "torchvision", "torch_fidelity", "typer"}
SERVING = {"gradio", "uvicorn", "fastapi", "starlette"}  # of the page in the browser

# room -> (rooms of zoo that it may import, libraries of HEAVY that it may import)
RULES: dict[str, tuple[set[str], set[str]]] = {
    "atomic": (set(), set()),
    "batch": (set(), set()),
    "machine": (set(), set()),
    "page": ({"atomic", "page", "text"}, set()),
    "ranges": (set(), set()),
    "result": ({"atomic", "text"}, set()),
    "text": (set(), set()),
    "torchfile": (set(), set()),
    "formats": ({"atomic", "formats", "text", "torchfile"}, set()),
    "game": ({"batch", "game", "ranges", "text", "torchfile"}, {"lightning"}),
    "networks": ({"networks", "torchfile"}, set()),
    "model": ({"batch", "game", "networks", "torchfile"}, set()),
    "data": ({"atomic", "batch", "data", "machine", "ranges", "text"}, {"lightning", "torchvision"}),
    "metrics": (
        {"atomic", "batch", "metrics", "networks", "ranges", "torchfile"},
        {"torchmetrics", "torch_fidelity", "torchvision"},
    ),
    "run": (
        {
            "atomic",
            "batch",
            "formats",
            "game",
            "machine",
            "metrics",
            "page",
            "ranges",
            "result",
            "run",
            "text",
            "torchfile",
            "weights",
        },
        {"hydra", "omegaconf", "lightning", "torchvision", "wandb"},
    ),
    "weights": ({"text", "torchfile", "weights"}, set()),
    "use": (
        {"atomic", "batch", "data", "game", "networks", "page", "result", "text", "use", "weights"},
        {"torchvision"},
    ),
    "loading": ({"machine", "run", "use", "weights"}, set()),
    "cli": (
        {"batch", "cli", "data", "formats", "game", "loading", "machine", "metrics", "run", "text", "use", "weights"},
        {"hydra", "omegaconf", "torchvision", "typer"},
    ),
    "__init__": ({"loading", "run"}, set()),
    "__main__": ({"cli"}, set()),
}


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(path: Path) -> str:
    parts = path.relative_to(ROOT / "zoo").with_suffix("").parts
    return parts[0]


@pytest.mark.parametrize("path", sorted((ROOT / "zoo").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports(path: Path) -> None:
    rooms, libraries = RULES[room(path)]
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "zoo" and len(parts) > 1:
            assert parts[1] in rooms, f"{path.name} may not import {name}"
        assert parts[0] not in HEAVY or parts[0] in libraries, f"{path.name} may not import {name}"


# A module of a distribution that is called otherwise.
DISTRIBUTIONS = {"PIL": "pillow", "google": "onnx", "hydra": "hydra-core", "skimage": "scikit-image", "yaml": "pyyaml"}


@pytest.mark.slow
def test_what_is_imported_is_declared() -> None:
    """And what only a command or a setting needs, as an extra; where a library brings another, that may go with it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [need for needs in project["optional-dependencies"].values() for need in needs]
    declared = {re.split(r"[<>=\[]", need)[0].replace("-", "_") for need in [*project["dependencies"], *extras]}
    for path in [*(ROOT / "zoo").rglob("*.py"), ROOT / "train.py"]:
        modules = {name.split(".")[0] for name in imports(path)} - sys.stdlib_module_names - {"zoo"}
        used = {DISTRIBUTIONS.get(name, name).replace("-", "_") for name in modules}
        assert used <= declared, f"{path.relative_to(ROOT)}: {used - declared} in no list of pyproject.toml"


@pytest.mark.slow
def test_one_page_alone_knows_what_serves_it() -> None:
    knowing = {
        path.relative_to(ROOT / "zoo").as_posix(): SERVING & {name.split(".")[0] for name in imports(path)}
        for path in (ROOT / "zoo").rglob("*.py")
    }
    assert {path: names for path, names in knowing.items() if names} == {
        "use/demo/page.py": {"gradio"},
        "use/demo/server.py": {"gradio", "fastapi", "uvicorn"},
    }


def test_no_variant_knows_another() -> None:
    for path in (ROOT / "zoo" / "model").glob("*.py"):
        assert not [name for name in imports(path) if name.startswith("zoo.model")], path


def test_three_trees_rhyme() -> None:
    for path in (ROOT / "conf" / "model").glob("*.yaml"):
        assert (ROOT / "zoo" / "model" / f"{path.stem}.py").is_file()
        assert (ROOT / "tests" / "model" / f"test_{path.stem}.py").is_file()
