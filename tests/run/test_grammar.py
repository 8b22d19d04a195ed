"""What is typed becomes what Hydra parses: quoting, dashes, words without `=`."""

import random
from pathlib import Path

import pytest
from common import CONF, MODELS, compose
from omegaconf import OmegaConf
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from zoo.run.config import flatten, plain
from zoo.run.grammar import overrides, quoted, value

FREE = ["data=folder", "metrics=none", "run_dir=x", "logger=none"]


@pytest.mark.parametrize(
    "path",
    [
        "/my pictures (new), really",
        "my pictures (new)",
        "a=b",
        "a,b",
        "[2024]",
        "{x}",
        "it's",
        'say "cheese"',
        "'",
        "x#%$y",
        "a${b",
        "ünï ©",
        " x ",
        "007",
        "1_000",
        "1e5",
        "true",
        "C:\\new\\",
        "C:\\my pictures\\(1)\\",
        "back\\'slash",
        "a\\\\",
        "glob(*)",
        "a\tb",
        "-",
        "[" * 2_000,
    ],
)
def test_any_path_is_taken(path: str) -> None:
    argument = quoted(f"data.root={path}")
    assert compose(*FREE, argument).data.root == path
    assert quoted(argument) == argument  # what is resumed, or handed to other processes, is quoted once


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data.root", "data.test_root", "start", "resume", "hydra.run.dir", "cache_dir"])
def test_no_path_out_of_odd_characters_changes(name: str) -> None:
    letters = "ab1 ()[]{},:=#%$@\\'\"~+-.*?!&|<>;ü/"
    draw = random.Random(1)
    for _ in range(150):
        path = "a" + "".join(draw.choices(letters, k=draw.randrange(1, 9)))
        argument = quoted(f"{name}={path}")
        assert OmegaConf.create({"x": value(argument)}).x == path, argument
        assert quoted(argument) == argument


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("data.root=/plain/folder-1.2", "data.root=/plain/folder-1.2"),
        ("data.root='a=b'", "data.root='a=b'"),
        ("data.root=null", "data.root=null"),
        ("data.root=", "data.root="),
        ("data.root=${oc.env:HOME}/x", "data.root=${oc.env:HOME}/x"),
        ("data.root=${oc.env:HOME}/x (1)", "data.root='${oc.env:HOME}/x (1)'"),
        ("model.weights={pixel: 1}", "model.weights={pixel: 1}"),
        ("model.weights.pixel=0.1", "model.weights.pixel=0.1"),
        ("seed=1,2,3", "seed=1,2,3"),
        ("model.betas=[0.5,0.9]", "model.betas=[0.5,0.9]"),
        ("+callbacks.x={_target_: a.B, every: 3}", "+callbacks.x={_target_: a.B, every: 3}"),
        ("max_images=${oc.env:N}", "max_images=${oc.env:N}"),
        ("logger.wandb.project=my runs (2)", "logger.wandb.project='my runs (2)'"),
        ("logger.csv.save_dir=D:\\runs\\", "logger.csv.save_dir=D:\\runs\\"),
        ("+x.y=./a, b", "+x.y='./a, b'"),
        ("model.betas=[0.5,0.9", "model.betas='[0.5,0.9'"),
        ("~logger.csv", "~logger.csv"),
    ],
)
def test_what_has_a_meaning_keeps_it(argument: str, expected: str) -> None:
    assert quoted(argument) == expected


@pytest.mark.slow
@pytest.mark.parametrize("line", [*([f"model={model}"] for model in MODELS), ["data=folder", "trainer=ddp"]])
def test_every_default_can_be_typed(line: list[str]) -> None:
    for key, default in flatten(plain(compose(*line, "run_dir=x", "logger=none"))).items():
        if not isinstance(default, dict) and "overrides" not in key:
            text = "null" if default is None else str(default)
            assert value(quoted(f"{key}={text}")) == default, key


def test_a_sweep_over_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me too")
    line = ["-m", "data.root=~/a,my b (1),'c,d'", "seed=choice(1,2)", "hydra.sweep.dir=x y"]
    expected = ["-m", "data.root=/home/me too/a,'my b (1)','c,d'", "seed=choice(1,2)", "hydra.sweep.dir=x y"]
    assert overrides(line) == expected
    assert [getattr(part, "text", part) for part in value(expected[1]).list] == ["/home/me too/a", "my b (1)", "c,d"]


def test_hydras_own_flags_stay() -> None:
    line = ["--cfg", "job", "-p", "model", "--config-dir=/x y", "--info", "--resolve", "seed=3", "--info", "plugins"]
    flags = ["--cfg", "job", "-p", "model", "--config-dir=/x y", "--info=all", "--resolve", "--info", "plugins"]
    assert overrides(line) == [*flags, "seed=3"]  # in front, where argparse wants them
    assert overrides(["model=dcgan", "-m", "seed=1,2"]) == ["-m", "model=dcgan", "seed=1,2"]
    assert overrides(["a=1", "-cd", "x=y", "~seed", "--"]) == ["-cd", "x=y", "a=1", "~seed"]


@pytest.mark.slow
def test_what_the_agent_of_a_wandb_sweep_writes() -> None:
    """By W&B's own code, in both of its formats; conf/wandb_sweep.yaml names settings that there are."""
    sweep = OmegaConf.to_container(OmegaConf.load(CONF / "wandb_sweep.yaml"), resolve=False)
    assert isinstance(sweep, dict)
    values = {
        name: {"value": given.get("min", given.get("values", [None])[0])} for name, given in sweep["parameters"].items()
    }
    values |= {"seed": {"value": 3}, "data.flip": {"value": True}, "model.betas": {"value": [0.0, 0.9]}}
    written = create_sweep_command_args({"args": values})
    fixed = [argument for argument in sweep["command"] if not argument.startswith("${")]
    for form in ("args", "args_no_hyphens"):
        line = overrides([*written[form], *fixed])
        cfg = compose(*(a.replace("=None", "=null") for a in line))
        assert (cfg.seed, cfg.data.flip, cfg.model.betas) == (3, True, [0.0, 0.9])
        assert (cfg.model.lr.D, cfg.model.lr.G, cfg.max_images) == (1e-5, 1e-5, 50_000)
        assert cfg.model.ema_half_life is None
    assert "model.ema_half_life=null" in overrides(written["args"])


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("dcgan", "'dcgan' is no setting; did you mean model=dcgan?"),
        ("mnist", "'mnist' is no setting; did you mean data=mnist or metrics=mnist?"),
        ("hinge", "'hinge' is no setting; did you mean loss=hinge?"),
        ("model dcgan", "'model' is no setting; did you mean model=dcgan?"),
        ("model:dcgan", "'model:dcgan' is no setting; did you mean model=dcgan?"),
        ("model.lr.D 1e-4", "'model.lr.D' is no setting; did you mean model.lr.D=1e-4?"),
        ("--seed 3", "'--seed' is no setting; did you mean seed=3?"),
        ("-max_images 3", "'-max_images' is no setting; did you mean max_images=3?"),
        ("--epochs 5", "there is no setting 'epochs'; the budget is max_images=, in images: 5 epochs are 5 x the num"),
        ("-epochs", "there is no setting 'epochs'; the budget is max_images="),
        ("--batch-size 8", "there is no setting 'batch-size'; did you mean data.batch_size=8?"),
        ("--hlep", "'--hlep' is no setting; did you mean --help?"),
        ("--mutlirun seed=1,2", "'--mutlirun' is no setting; did you mean --multirun?"),
        ("nonsense", "'nonsense' is no setting: they are written KEY=VALUE"),
        ("=3", "'' is no name of a setting"),
        ("clé=3", "'clé' is no name of a setting"),
        ("model..lr=3", "'model..lr' is no name of a setting"),
        ("model=3", "there is no model=3; the names are"),
        ("model=null", "there is no model=null; the names are"),
        ("model=[dcgan]", "there is no model=[dcgan]; did you mean dcgan?"),
        ("loss=", "there is no loss=; the names are"),
    ],
)
def test_a_word_that_is_no_setting(line: str, sentence: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        overrides(line.split())
    assert str(raised.value).startswith(sentence)


def test_a_run_that_is_named_alone(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    with pytest.raises(ValueError, match=f"did you mean resume={tmp_path}"):
        overrides([str(tmp_path)])


def test_braces_that_a_shell_has_expanded_are_refused() -> None:
    words = [f"data.root=my set/train-{n:04}.tar" for n in range(3)]
    with pytest.raises(
        ValueError, match=r"data\.root names 3 shards.* put it in quotes, 'data\.root=set/\{000\.\.099\}"
    ):
        overrides(["data=folder", *words])
    assert overrides(["data.root=set/{0..9}.tar", "data.test_root=set/x.tar"]) == [
        "data.root='set/{0..9}.tar'",
        "data.test_root=set/x.tar",
    ]
    assert overrides(["seed=1", "seed=2"]) == ["seed=1", "seed=2"]  # the last one counts


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me too")
    take = lambda text: overrides([text])
    assert take("data.root=~/pictures") == ["data.root=/home/me too/pictures"]
    assert take("--data.root=~/a,b") == ["data.root='/home/me too/a,b'"]


def test_flags_that_no_run_can_follow_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--experimental-rerun .*resume=RUN"):  # Hydra unpickles what it names
        overrides(["--experimental-rerun", "config.pickle"])
    for words in ([], ["install=tcsh"], ["install=bash", "uninstall=bash"], ["model=dcgan"]):
        with pytest.raises(ValueError, match=r"--shell-completion .*install=bash"):
            overrides(["--shell-completion", *words])
    assert overrides(["-sc", "install=bash"]) == ["-sc", "install=bash"]
    file = tmp_path / "cats.yaml"
    file.write_text("root: x\n")
    with pytest.raises(ValueError, match=r"--config-dir .*cats\.yaml is a file: .*folder"):
        overrides(["--config-dir", str(file), "model=dcgan"])
