"""What a file may say: a stranger's checkpoint builds, looks up and writes nothing of its own choice."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import zoo
from zoo.cli import app
from zoo.run import trust
from zoo.run.checkpoint import read_whole
from zoo.run.config import compose, plain

Content = dict[str, Any]
Write = Callable[[Content], Path]
SAVE = {"_target_": "numpy.savetxt", "fname": "written.txt", "X": ["x"], "fmt": "%s"}


def at(tree: Any, path: str, value: Any) -> None:
    """Set what is at "data.image_size.0"; a list grows where there is nothing yet."""
    *outer, last = path.split(".")
    for name in outer:
        tree = tree[int(name)] if isinstance(tree, list) else tree.setdefault(name, {})
    tree[last] = value


HOSTILE: dict[str, tuple[str, Any]] = {
    "in a list": ("data.image_size", [SAVE]),
    "in a list of lists": ("data.image_size", [[1, [SAVE]]]),
    "in a dict in a list": ("data.background", [{"colour": SAVE}]),
    "as a setting": ("data.root", SAVE),
    "of metrics, in a list": ("metrics.batch_size", [SAVE]),
    "deep in metrics": ("metrics.extractor.weights", SAVE),
    "in a tuple": ("data.image_size", (SAVE,)),
    "partial": ("data._partial_", True),
    "arguments by position": ("data._args_", ["x"]),
    "converted": ("data._convert_", "object"),
    "recursive": ("metrics._recursive_", False),
    "an unknown word of Hydra's": ("metrics.extractor._mode_", "call"),
    "an environment variable": ("data.root", "${oc.env:HOME}"),
    "a decoded text": ("data.image_size", ["${oc.decode:'[1, 2]'}"]),
    "another setting": ("metrics.split", "${data.root}"),
    "a relative lookup": ("data.background", "a ${.root}"),
    "another class": ("data._target_", "zoo.data.sources.Files"),
    "what a module imports": ("data._target_", "zoo.data.public.Path"),
    "what a module imports from numpy": ("data._target_", "zoo.data.public.np.load"),
    "a function": ("data._target_", "os.mkdir"),
    "a number in place of a class": ("data._target_", 3),
    "a class of data for metrics": ("metrics._target_", "zoo.data.embedded.MNIST5k"),
    "an extractor for metrics": ("metrics._target_", "zoo.metrics.extractors.DigitClassifier"),
    "a foreign extractor": ("metrics.extractor._target_", "torch.hub.load"),
    "text in place of an extractor": ("metrics.extractor", "zoo.metrics.extractors.Inception"),
    "data that are a list": ("data", [1, 2]),
    "data that are empty": ("data", {}),
    "metrics that are text": ("metrics", "mnist"),
    "a seed that is text": ("seed", "1"),
    "an object": ("data.root", {1, 2}),
    "a key that is no text": ("data.root", {(1, 2): 3}),
}


def commands(path: Path) -> list[list[str]]:
    return [["sample", str(path), "-n", "1"], ["evaluate", str(path)], ["evaluate", str(path), "metrics=mnist"]]


@pytest.mark.parametrize("form", HOSTILE)
def test_hostile_settings_are_refused(form: str, content: Content, file: Write) -> None:
    """By every command, with the file's name; nothing is written."""
    at(content["zoo"]["config"], *HOSTILE[form])
    path = file(content)
    for command in commands(path):
        with pytest.raises(ValueError, match=r"a\.ckpt is refused: ") as why:
            CliRunner().invoke(app, command, catch_exceptions=False)
        assert len(str(why.value).splitlines()) == 1
    assert os.listdir() == ["a.ckpt"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("data.image_size", "16px", "data.image_size=16px: expected"),
        ("data.batch_size", {"x": 1}, "data.batch_size"),
        ("data.of_mine", 1, "there is no setting 'data.of_mine'"),
        ("metrics.neighbours", None, "metrics.neighbours"),
        ("metrics.num_fake", "many", "metrics.num_fake=many: expected"),
        ("data.image_size", ["x", None], "data.image_size[0]=x: expected a whole number"),
    ],
)
def test_settings_of_the_wrong_kind_are_a_sentence(
    setting: str, value: Any, sentence: str, content: Content, file: Write
) -> None:
    at(content["zoo"]["config"], setting, value)
    with pytest.raises(ValueError, match=r"a\.ckpt (is refused|has)") as why:
        CliRunner().invoke(app, ["evaluate", str(file(content))], catch_exceptions=False)
    assert sentence in str(why.value)


@pytest.mark.slow
def test_where_to_write_is_the_users(content: Content, file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", "mine")
    config = content["zoo"]["config"]
    for setting in ("cache_dir", "run_dir", "data.cache_dir", "metrics.cache_dir"):
        at(config, setting, "/proc/strangers")
    config["data"]["num_workers"] = 200
    path = file(content)
    result = CliRunner().invoke(app, ["evaluate", str(path), "metrics.num_fake=50"], catch_exceptions=False)
    assert "fid_mnist" in result.output
    assert sorted(os.listdir()) == ["a.ckpt", "mine"]
    CliRunner().invoke(app, ["evaluate", str(path), "cache_dir=typed", "metrics.num_fake=50"], catch_exceptions=False)
    assert sorted(os.listdir()) == ["a.ckpt", "mine", "typed"]


def test_a_set_is_not_downloaded_to_where_a_file_says(tmp_path: Path) -> None:
    users = trust.of_the_user(compose("data=mnist", f"run_dir={tmp_path}", "callbacks.report.overrides=[]"))
    assert {"data.root", "data.cache_dir", "metrics.cache_dir", "cache_dir", "callbacks.samples.folder"} <= users
    assert trust.is_the_users("data.root", str(tmp_path / "new"), users)
    (tmp_path / "mnist.npz").touch()
    assert not trust.is_the_users("data.root", str(tmp_path / "mnist.npz"), users)  # only read
    users = trust.of_the_user(compose("data=folder", f"run_dir={tmp_path}", "callbacks.report.overrides=[]"))
    assert "data.root" not in users


@pytest.mark.slow
@pytest.mark.parametrize("group", trust.BUILT)
def test_every_choice_of_this_project_may_stand_in_a_file(group: str) -> None:
    for path in sorted((trust.CONF / group).glob("*.yaml")):
        composed = compose(f"{group}={path.stem}")
        parts = {part: plain(composed[part]) for part in trust.BUILT}
        trust.check_targets(trust.settings({"seed": 1, **parts}))


NO_VARIANTS: list[Any] = [
    *("zoo.model.srgan.Path", "zoo.model.dcgan.nn", "zoo.model.dcgan.GAN", "zoo.model.dcgan.FromLatents"),
    *("zoo.model.srgan.Generator", "zoo.model.dcgan.init_weights", "zoo.model.dcgan.torch.load", "zoo.model.dcgan"),
    *("zoo.model.dcgan.DCGAN.__init__", "zoo.model.__init__.Any", "zoo.model..dcgan.DCGAN", ".dcgan.DCGAN", "DCGAN"),
    *(
        "zoo.model.dcgan.DCGAN\n",
        "zoo.model.nothing.DCGAN",
        "zoo.model.../game/gan.GAN",
        "zoo.game.gan.GAN",
        "os.system",
    ),
    *("", None, 3, ["zoo.model.dcgan.DCGAN"], {"_target_": "os.system"}, "zoo.model.dcgan.\x1b[2J", "x" * 10_000),
]


@pytest.mark.parametrize("name", NO_VARIANTS, ids=lambda name: str(name)[:40])
def test_a_variant_is_a_class_that_a_module_of_variants_defines(name: Any, content: Content, file: Write) -> None:
    content["zoo"]["variant"] = name
    path = file(content)
    for load in (zoo.load, read_whole):
        with pytest.raises(ValueError, match=r"a\.ckpt is refused: ") as why:
            load(path)
    assert str(why.value).isprintable()
    assert len(str(why.value)) < len(str(path)) + 200
    assert os.listdir() == ["a.ckpt"]


def test_ones_own_variant_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the folder of variants, as docs/extend.md has it; not one that is elsewhere on the path."""
    import zoo.model

    text = "from zoo.game.gan import GAN\nfrom zoo.model.dcgan import DCGAN\nclass Mine(GAN): pass\n"
    (tmp_path / "of_a_test.py").write_text(text)
    monkeypatch.setattr(zoo.model, "__path__", [*zoo.model.__path__, str(tmp_path)])
    with pytest.raises(ValueError, match="no variant of this zoo"):
        trust.variant("zoo.model.of_a_test.Mine")
    monkeypatch.setattr(trust, "VARIANTS", tmp_path)
    assert trust.variant("zoo.model.of_a_test.Mine").__name__ == "Mine"
    with pytest.raises(ValueError, match="no variant of this zoo"):
        trust.variant("zoo.model.of_a_test.DCGAN")


def endless() -> list[Any]:
    tree: list[Any] = []
    tree.append(tree)
    return tree


def doubled() -> Any:
    tree: Any = ["x"]
    for _ in range(40):
        tree = [tree, tree]
    return tree


@pytest.mark.parametrize("tree", [endless(), doubled()])
def test_trees_without_an_end_are_refused(tree: Any) -> None:
    with pytest.raises(ValueError, match="config is nested or repeated without an end"):
        trust.check_plain(tree, "config")
