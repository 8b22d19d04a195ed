"""What the pages show is what there is.

Their commands are read by the programs that they name, their quotations are what files have, their links lead
somewhere, docs/extend.md's example is trained, the three answers are followed step by step, the notebook is executed.
"""

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from common import MODELS, ROOT, SMALL, compose, make, program
from hydra.utils import instantiate
from PIL import Image

from zoo.cli import app
from zoo.run.grammar import overrides

scripts = program("scripts/pages.py")
PAGES = scripts.pages()
README = (ROOT / "README.md").read_text(encoding="utf-8")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: str) -> dict[str, str]:
    """The files that a page shows: a name in backquotes before each block of Python or YAML."""
    return dict(re.findall(r"`((?:zoo|conf)/[\w/.]+)`[^\n]*:\n\n```(?:python|yaml)\n(.*?)```", page, flags=re.DOTALL))


def run(folder: Path, *commands: list[str]) -> str:
    """Run commands one after another, as typed in a folder, in one process: what is imported is imported once."""
    code = """
import json, runpy, sys
from zoo.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = words[words[0] == "python":]
    try:
        main() if words[0] == "zoo" else runpy.run_path(words[1], run_name="__main__")
    except SystemExit as left:
        assert not left.code, words
"""
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code, json.dumps(commands)],
        **{"cwd": folder, "env": environment, "capture_output": True, "text": True, "timeout": 280},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def copied(folder: Path) -> Path:
    """The project, where something may be added to it."""
    for name in ("zoo", "conf", "train.py"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    return folder


@pytest.mark.slow
def test_the_example_of_a_new_variant_trains_and_is_sampled_by_category(tmp_path: Path) -> None:
    files = blocks((ROOT / "docs" / "extend.md").read_text())
    assert files.keys() == {"zoo/model/infogan.py", "conf/model/infogan.yaml"}
    assert len(files["zoo/model/infogan.py"].splitlines()) <= 90
    assert len(files["conf/model/infogan.yaml"].splitlines()) <= 12
    copied(tmp_path)
    for name, text in files.items():
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(text)
    small = ["model=infogan", "data=digits", "data.image_size=16", "model.width=4", "data.batch_size=16", "trainer=cpu"]
    more = [
        "max_images=64",
        "regularizer=r1",
        "augment=ada",
        "metrics.num_fake=20",
        "metrics.num_real=30",
        "logger=csv",
    ]
    output = run(
        tmp_path,
        ["python", "train.py", *small, *more, "hydra.run.dir=run"],
        ["zoo", "sample", "run", "--label", "3", "-n", "2", "-o", "three"],
        ["python", "train.py", "resume=run", "max_images=96"],
    )
    assert {"last.ckpt", "best.ckpt"} <= {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert "2 images of each of 3" in output
    assert len(list((tmp_path / "three").rglob("*.png"))) == 2
    assert json.loads((tmp_path / "run" / "result.json").read_text())["last"]["images"] == 96


# What is quoted -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_quotations_are_what_the_files_have(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert scripts.rendered(text) == text, "python scripts/pages.py"
    assert text.count("<!-- from: ") == text.count("<!-- /from -->") == len(scripts.REGION.findall(text))


def test_a_quotation_that_was_changed_is_found() -> None:
    page = (ROOT / "docs" / "models" / "dcgan.md").read_text(encoding="utf-8")
    line = "fake = self.G(self.latent(len(x)))"
    assert page.count(line) == 1
    assert scripts.rendered(page.replace(line, "fake = self.G(x)")) == page


@pytest.mark.parametrize(
    ("mark", "sentence"),
    [
        ("zoo/model/none.py Gone", "there is no such file"),
        ("zoo/model/dcgan.py DCGAN.gone", "zoo/model/dcgan.py has no such part"),
        ('zoo/game/losses.py OBJECTIVES["gone"]', "zoo/game/losses.py has no such part"),
        ("zoo/model/dcgan.py Faithful, Gone", "its header has no Gone:"),
    ],
)
def test_what_is_no_longer_there_is_named(mark: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        scripts.rendered(f"<!-- from: {mark} -->\n<!-- /from -->\n")


def test_each_extra_is_on_the_page_of_installing() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = re.findall(r"^\| `gan-zoo\[(\w+)\]` \|", (ROOT / "docs" / "install.md").read_text("utf-8"), re.MULTILINE)
    assert rows == sorted(project["optional-dependencies"])


@pytest.mark.parametrize("model", MODELS)
def test_each_variant_has_its_page(model: str) -> None:
    """Its picture, its command, its objective beside its code, what departs, and its settings; and a row in README."""
    page = (ROOT / "docs" / "models" / f"{model}.md").read_text(encoding="utf-8")
    quoted = [(file, part) for _, file, part, *_ in scripts.REGION.findall(page)]
    parts = [part for file, part in quoted if file == f"zoo/model/{model}.py"]
    assert parts[0].endswith(".training_step")
    assert parts[-1].startswith("Faithful, Departs")
    assert (f"conf/model/{model}.yaml", "") in quoted
    assert "```math\n" in page[: page.index(".training_step -->")], "the objective stands before the code"
    assert re.search(r'^<img src="[^"]+" alt="[^"]+"', page, re.MULTILINE)
    commands = [command for command in commands_of(page) if command.startswith("python train.py")]
    assert any(f"model={model}" in command or (model == "dcgan" and "model=" not in command) for command in commands)
    row = next(line for line in README.splitlines() if f"](docs/models/{model}.md)" in line and line.startswith("|"))
    assert "<img " in row
    assert len(commands_of(row)) == 1


# Pages and links ----------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """What `#...` may say of a page: its headings, as GitHub names them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text):
        address, _, anchor = (target[0] or target[1]).partition("#")
        if address.startswith(("http:", "https:")):
            continue
        file = (page.parent / address).resolve() if address else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            wrong.append(target[0] or target[1])
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_page_begins_with_what_it_is_for(page: Path) -> None:
    title, empty, first, *_ = page.read_text(encoding="utf-8").splitlines()
    assert title.startswith("# ")
    assert not empty
    assert re.match(r"[A-Z\"]", first), "a sentence, not a table, a picture or a command"


def test_every_page_is_in_the_table_of_pages() -> None:
    links = set(re.findall(r"\]\(([^)#]+)\)", (ROOT / "docs" / "README.md").read_text(encoding="utf-8")))
    of_project = {"CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md"}
    assert {link.removeprefix("../") for link in links if link.startswith("../")} == of_project
    assert all(f"]({name}" in README for name in of_project)
    listed = {link for link in links if not link.startswith("../")}
    listed |= {
        f"models/{name}" for name in re.findall(r"\]\((\w+\.md)\)", (ROOT / "docs/models/README.md").read_text())
    }
    pages = {str(page.relative_to(ROOT / "docs")) for page in PAGES if page.name != "README.md"}
    assert pages | {"gan_in_ten_minutes.ipynb", "models/README.md"} == listed


def test_the_readme_is_short_and_begins_with_the_two_commands() -> None:
    assert len(README.splitlines()) <= 150
    start = README[README.index("## Quick start") :]
    blocks = re.findall(r"```\w*\n(.*?)```", start, flags=re.DOTALL)
    assert blocks[:2] == ["pip install uv && uv run train.py\n", "pip install uv && uv run pytest\n"]


def test_lower_is_better_is_said_before_the_first_figure() -> None:
    assert 0 < README.index("lower is better") < README.index("fid_mnist")


# Commands -----------------------------------------------------------------------------------------------------------

COMMAND = re.compile(
    r"(?:python (?:train|scripts/\w+|benchmarks/\w+)\b|zoo [a-z]|torchrun |srun |uv run (?:train|zoo)|wandb )"
)


def commands_of(page: str) -> list[str]:
    """The command lines of a page: in blocks, in tables and in sentences; without what a `#` says of them."""
    for elsewhere in (
        r"<!-- from: .*?^<!-- /from",
        r"<!-- results: rows -->.*?^<!-- /results",
    ):  # tests/test_results.py
        page = re.sub(rf"^{elsewhere} -->$", "", page, flags=re.DOTALL | re.MULTILINE)
    found, fenced = [], None
    text = []
    for line in re.sub(r" *\\\n *", " ", page).splitlines():
        if fence := re.match(r"\s*```(\w*)", line):
            fenced = None if fenced is not None else fence[1]
        elif fenced in ("", "bash", "sh") or (fenced is None and line.startswith("    ")):
            found += [line.strip()] if COMMAND.match(line.strip()) else []
        elif fenced is None:
            text.append(line)
    for quoted in re.findall(r"`([^`]+)`", "\n".join(text)):
        if COMMAND.match(words := " ".join(quoted.split())):
            found.append(words)
    commands = [re.split(r"\s#\s|\s{3,}|;\s", command)[0].strip() for command in found]
    return [command for command in commands if "..." not in command and not command.endswith(("=", "="))]


def test_commands_are_found_wherever_they_stand() -> None:
    page = """
A `zoo sample RUN -n 3`, or
`python train.py
model=dcgan`.

    python train.py seed=1      # one

| `zoo list` | `python train.py ROW scale=...` |

```
zoo mix RUN -o a.png   # mixed
torchrun --nproc_per_node=8 train.py \\
    trainer=ddp
```

```python
zoo = 3
```
"""
    assert commands_of(page) == [
        "python train.py seed=1",
        "zoo mix RUN -o a.png",
        "torchrun --nproc_per_node=8 train.py trainer=ddp",
        "zoo sample RUN -n 3",
        "python train.py model=dcgan",
        "zoo list",
    ]


def of_training(words: list[str]) -> None:
    """Raise what the command would say of its settings."""
    if "model=infogan" in words:  # of docs/extend.md, which a test of its own trains
        return
    left_out = ("-", "resume=", "hydra", "ROW", "trainer.devices=8", "trainer.num_nodes=")
    settings = [word for word in words if not word.startswith(left_out)]
    settings = [re.sub(r"=([^\[{,]+),.*", r"=\1", word) for word in settings]  # of a sweep, the first
    compose(*overrides(settings), "run_dir=x", "callbacks.report.overrides=[]", "logger=none")


def of_zoo(words: list[str]) -> None:
    """Raise what the command would say of its arguments, without doing anything."""
    if words[:1] in ([], ["--help"]):
        return None
    if words[0] == "train":
        return of_training(words[1:])
    commands: Any = typer.main.get_command(app)
    assert words[0] in commands.commands, f"there is no zoo {words[0]}"
    context = commands.commands[words[0]].make_context(words[0], words[1:])
    if given := [word for word in context.params.get("words") or [] if re.match(r"metrics[.\w]*=", word)]:
        of_training(given)


@functools.cache
def try_out(command: str) -> None:
    """Raise what a command would say, without doing anything. Pages share commands, so each is tried once."""
    words = shlex.split(command)
    if words[:2] == ["uv", "run"]:
        words = words[2:]
    if words[0] == "torchrun" or words[0] == "srun":
        words = words[words.index("train.py") - (words[0] == "srun") :]
    if words[0] == "zoo":
        if len(words) != 2 or words[1] == "list":
            of_zoo(words[1:])
        else:  # `zoo sample` in a sentence is its name
            assert words[1] in typer.main.get_command(app).commands  # type: ignore[attr-defined]
    elif words[0] == "wandb":
        assert words[1] != "sweep" or (ROOT / words[2]).is_file()
    elif "train.py" in words[:2]:
        of_training(words[words.index("train.py") + 1 :])
    else:
        source = (ROOT / words[1]).read_text(encoding="utf-8")
        options = [word[2:].split("=")[0] for word in words[2:] if word.startswith("--")]
        assert not [option for option in options if not re.search(rf"\b{re.sub('[-_]', '[-_]', option)}\b", source)]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_commands_of_a_page_are_those_that_there_are(page: Path) -> None:
    wrong = {}
    for command in dict.fromkeys(commands_of(page.read_text(encoding="utf-8"))):
        try:
            try_out(command)
        except (Exception, SystemExit) as error:
            wrong[command] = f"{type(error).__name__}: {error}"
    assert not wrong


@pytest.mark.parametrize(
    "planted",
    [
        "python train.py modle=dcgan",
        "python train.py model=dcgan data.image_siz=64",
        "uv run train.py model=dcgann",
        "torchrun --nproc_per_node=8 train.py trainer=dpp",
        "zoo sampel RUN",
        "zoo sample RUN --lable 7",
        "zoo sample RUN -n many",
        "zoo evaluate RUN metrics.num_fakes=3",
        "python scripts/toy_3d.py",
        "python benchmarks/step_time.py --sizes 3",
        "wandb sweep conf/sweep.yaml",
    ],
)
def test_a_command_that_is_not_there_is_found(planted: str) -> None:
    with pytest.raises((Exception, SystemExit)):
        try_out(planted)


def test_extras_are_those_that_there_are() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for page in PAGES:
        for extra in re.findall(r"gan-zoo\[(\w+)\]|--extra (\w+)", page.read_text(encoding="utf-8")):
            assert {*extra} - {""} <= {*extras}, page


def rows_of_sizes() -> list[tuple[str, ...]]:
    """docs/train.md's table of what scale= builds: the settings, and a cell for each scale."""
    row = r"^\| `(model=[^`]+)`[^|]* \| ([\d., ]+) \(\d+\) \| ([\d., ]+) \(\d+\) \| ([\d., ]+) \(\d+\) \|$"
    return re.findall(row, (ROOT / "docs" / "train.md").read_text(), flags=re.MULTILINE)


def test_the_page_shows_some_sizes() -> None:
    assert len(rows_of_sizes()) == 7


@pytest.mark.parametrize("row", rows_of_sizes(), ids=lambda row: row[0])
def test_the_sizes_of_the_page_are_what_is_built(row: tuple[str, ...]) -> None:
    settings, *cells = row
    for scale, cell in zip(("small", "medium", "paper"), cells, strict=True):
        config = compose(*settings.split(), f"scale={scale}", "metrics=none", "run_dir=x")
        ten = {"classes": list("0123456789")} if settings.startswith("model=cgan ") else {}  # CIFAR-10's
        with torch.device("meta"):
            players = instantiate(config.model, **ten, _convert_="all").players()
        sizes = {name: sum(p.numel() for p in networks[0].parameters()) / 1e6 for name, networks in players.items()}
        assert cell == f"{sizes['G']:.2f}, {sizes['D']:.2f}"


# Three questions ----------------------------------------------------------------------------------------------------


def steps(page: str, values: dict[str, str], *small: str) -> list[list[str]]:
    """The commands in the blocks of an answer, with a reader's own names in place of the page's, and small budgets."""
    text = (ROOT / "docs" / "answers" / page).read_text(encoding="utf-8")
    assert len(re.findall(r"^\*\*\d\. ", text, re.MULTILINE)) <= 3
    blocks = "\n".join(re.findall(r"^```\n.*?^```$", text, flags=re.DOTALL | re.MULTILINE))
    found = [shlex.split(command) for command in commands_of(blocks)]
    for words in found:
        for k, word in enumerate(words):
            for name, value in values.items():
                word = word.replace(name, value)
            words[k] = word
        if "train.py" in words and not any(word.startswith("resume=") for word in words):
            words += small
    return found


def photographs(folder: Path, number: int = 12) -> Path:
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(len(folder.name))
    for k in range(number):
        pixels = torch.randint(256, (264, 272, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(folder / f"{k}.png")
    return folder


@pytest.mark.slow
def test_300_photographs_of_one_kind_of_thing(tmp_path: Path) -> None:
    copied(tmp_path)
    values = {"~/photographs": str(photographs(tmp_path / "photographs")), "RUN": "run"}
    tiny = ["data.image_size=64", "model.width=2", "model.decoder_width=1", "model.latent_dim=8", "max_images=16"]
    own = ["metrics.num_fake=16", "metrics.prc_images=8", "trainer=cpu", "logger=csv", "hydra.run.dir=run"]
    output = run(tmp_path, *steps("300-photographs.md", values, *tiny, *own))
    assert "12 images, 12 readable" in output
    assert "fid_cifar10" in (tmp_path / "run" / "report.md").read_text()
    assert (tmp_path / "grid.png").is_file()
    assert (tmp_path / "pairs.png").is_file()


@pytest.mark.slow
def test_a_dcgan_baseline_with_an_fid_that_can_be_quoted(tmp_path: Path) -> None:
    copied(tmp_path)
    values = {"RUN": "outputs/0", "trainer=gpu": "trainer=cpu", "50_000": "30"}
    tiny = ["data=digits", "data.image_size=16", "scale=small", "model.width=4", "data.batch_size=16", "max_images=32"]
    own = ["metrics=mnist", "metrics.num_fake=20", "metrics.num_real=30", "logger=csv", "hydra.sweep.dir=outputs"]
    commands = steps("dcgan-baseline.md", values, *tiny, *own, "hydra.sweep.subdir=${hydra.job.num}")
    output = run(tmp_path, *(words + ["metrics.num_fake=30"] * ("--protocols" in words) for words in commands))
    assert "num_fake" in output
    assert (tmp_path / "baseline.csv").read_text().count("finished") == 3


@pytest.mark.slow
def test_eight_gpus_and_two_folders(tmp_path: Path) -> None:
    copied(tmp_path)
    for season in ("summer", "winter"):
        photographs(tmp_path / "pictures" / season)
    values = {"~/pictures": str(tmp_path / "pictures"), "RUN": "run", "trainer=ddp": "trainer=ddp_cpu", "cuda": "cpu"}
    tiny = ["scale=small", "data.image_size=16", "data.load_size=18", "model.width=4", "model.blocks=1"]
    own = ["model.discriminator_width=4", "max_images=16", "trainer.devices=2", "logger=csv", "hydra.run.dir=run"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    for words in steps("eight-gpus.md", values, *tiny, *own):
        if words[0] != "torchrun":
            run(tmp_path, words)
            continue
        assert words[1] == "--nproc_per_node=8"
        more = ["max_images=32"] if "resume=run" in words else []
        result = subprocess.run(
            [*torchrun, *words[2:], *more], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280
        )
        assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "run" / "result.json").read_text())["images"] == 32
    assert len(list((tmp_path / "OUT").rglob("*.png"))) == 12


@pytest.mark.slow
def test_the_table_of_what_is_compiled_and_captured() -> None:
    """docs/speed.md's, against what is refused; tests/test_contract.py compiles each variant."""
    table = (
        (ROOT / "docs/speed.md").read_text(encoding="utf-8").partition("| variant | `compile=`")[2].partition("\n\n")[0]
    )
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in table.splitlines()[2:]]
    named = [model for variants, *_ in rows for model in re.findall(r"`(\w+)`", variants)]
    assert sorted(named) == MODELS
    for variants, compiled, captured in rows:
        assert compiled.startswith("works")
        for model in re.findall(r"`(\w+)`", variants):
            gan = make(model, *SMALL[model])
            if captured == "works":
                gan.capture_steps()
                continue
            with pytest.raises(ValueError, match="cuda_graph=true makes all steps alike"):
                gan.capture_steps()
            if not captured.startswith("refused: "):
                make(model, *SMALL[model], *re.findall("`(.+?)`", captured)).capture_steps()


# The notebook -------------------------------------------------------------------------------------------------------

notebooks = program("scripts/notebook.py")
NOTEBOOK = json.loads(notebooks.NOTEBOOK.read_text(encoding="utf-8"))


def test_the_notebook_shows_what_its_cells_have_made() -> None:
    assert NOTEBOOK["metadata"]["digest"] == notebooks.digest(NOTEBOOK), "python scripts/notebook.py"
    code = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 6
    assert notebooks.NOTEBOOK.stat().st_size < 300_000


def test_the_smallest_game_has_twenty_lines() -> None:
    play = next(cell["source"] for cell in NOTEBOOK["cells"] if "def play" in "".join(cell["source"]))
    body = [line for line in "".join(play).splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(body[: body.index("    return losses, clouds") + 1]) <= 20


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cells = notebooks.executed(nbformat.read(notebooks.NOTEBOOK, as_version=4), tmp_path).cells
    assert sum("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", [])) >= 6
