"""What leaves a run: the model is the same, nobody's places go along, the card is one."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from common import EVERY, untrained
from huggingface_hub.repocard_data import model_index_to_eval_results

import zoo
from zoo.game.abilities import FromLatents, Styles, Translates, Upscales, classes_of, rows_of
from zoo.run import checkpoint
from zoo.use import card
from zoo.use.publish import command, picture, places, portable, uses, weights_of, without
from zoo.weights import folder


def outputs(model: Any) -> list[torch.Tensor]:
    """What a model makes, by each of its abilities."""
    made = []
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        if isinstance(model, FromLatents):
            made.append(model.sample(5, seed=3))
        if isinstance(model, Styles):
            ws = model.styles(torch.arange(3))
            made += [ws, model.truncate(ws, 0.5), model.from_styles(ws)]
        if isinstance(model, Translates):
            for direction, channels in model.directions.items():
                made.append(model.translate(torch.rand(2, channels, 32, 32, generator=generator) * 2 - 1, direction))
        if isinstance(model, Upscales):
            made.append(model.upscale(torch.rand(1, model.channels, 9, 7, generator=generator) * 2 - 1))
    assert made
    return made


@pytest.mark.parametrize("name", EVERY)
def test_a_weights_folder_is_the_model(name: str, tmp_path: Path) -> None:
    model = untrained(name, "model.ema_half_life=100")
    expected = outputs(model)
    for place, critic, dtype in (("f", False, None), ("d", True, None), ("h", False, torch.float16)):
        weights = weights_of(model, {}, critic=critic)
        folder.write(tmp_path / place, weights, card="", pictures={}, dtype=dtype)
        loaded: Any = zoo.load(tmp_path / place)
        assert (type(loaded), loaded.images, loaded.training) == (type(model), 1_000, False)
        for made, wanted in zip(outputs(loaded), expected, strict=True):
            if dtype is None:
                assert torch.equal(made, wanted)
            else:
                torch.testing.assert_close(made, wanted, rtol=0.02, atol=0.02)
    names = {part: {name.partition(".")[0] for name in folder.read(tmp_path / part).tensors} for part in "fd"}
    critics = {name for name, module in model.named_children() if module in model.critics()}
    assert names["d"] - names["f"] == critics - model.deployed().keys()  # which are there without being asked for
    whole: Any = zoo.load(tmp_path / "d")
    for critic_ in critics:
        ours, its = getattr(model, critic_).state_dict(), getattr(whole, critic_).state_dict()
        assert all(torch.equal(ours[key], its[key]) for key in ours)
    sizes = [(tmp_path / part / folder.TENSORS).stat().st_size for part in "hf"]
    assert sizes[0] < 0.8 * sizes[1]
    assert rows_of(type(model))
    assert uses(model, "x")


def test_the_file_may_be_read_as_the_others_are(tmp_path: Path) -> None:
    folder.write(tmp_path / "w", weights_of(untrained("vanilla"), {}), card="", pictures={})
    modes = {path.stat().st_mode for path in (tmp_path / "w").iterdir()}
    assert len(modes) == 1


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    model = untrained("vanilla", "model.ema_half_life=null")
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match=r"weights that are no numbers"):
        folder.write(tmp_path / "w", weights_of(model, {}), card="", pictures={})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1e6)
    with pytest.raises(ValueError, match=r"has numbers beyond those of torch.float16: leave --half out"):
        folder.write(tmp_path / "w", weights_of(model, {}), card="", pictures={}, dtype=torch.float16)
    assert not list(tmp_path.iterdir())


# Whose folders stay at home -----------------------------------------------------------------------------------------


def test_settings_go_along_without_places() -> None:
    data = {"_target_": "zoo.data.folder.Folder", "root": "horses", "test_root": "~/t", "size": 3, "labels": "a.csv"}
    config = {"data": data | {"deep": {"file": "x", "kept": "y"}, "background": "white"}, "metrics": {}, "seed": 1}
    wanted = {"_target_": "zoo.data.folder.Folder", "size": 3, "deep": {"kept": "y"}, "background": "white"}
    assert portable(config | {"run_dir": "/home/anna"}) == {"data": wanted, "metrics": {}, "seed": 1}


def test_hyperparameters_keep_their_names_but_no_places() -> None:
    model = untrained("srgan")
    model.hparams["start"] = model.hparams["vgg_weights"] = "/home/anna/model.ckpt"
    kept = weights_of(model, {}).hyperparameters
    assert (kept["start"], kept["vgg_weights"], kept["ema_half_life"]) == (None, None, None)
    assert kept.keys() == model.hparams.keys()


def test_the_command_is_a_recipe_and_names_no_place() -> None:
    model = untrained("dcgan")
    model.config["scale"] = "small"
    typed = ["data=folder", "data.root=horses", "model.lr.D=1e-4", "model.start='/home/anna x/y.ckpt'", "seed=3"]
    typed += ["logger=wandb", "logger.wandb.project=secret", "run_dir=/home/anna", "model.hidden=[1,2]", "resume=x"]
    words = command(model, typed, "digits")
    assert words == (
        "python train.py model=dcgan scale=small data=folder data.root=FOLDER model.lr.D=1e-4 model.start=FOLDER "
        "seed=3 'model.hidden=[1,2]'"
    )
    assert command(model, ["experiment=dcgan_mnist"], "mnist") == "python train.py experiment=dcgan_mnist"
    assert "\x1b" not in command(model, ["model.x=\x1b[2J"], "digits")
    for start in ("dcgan-mnist5k", "hf:anna/horses@v1"):  # names that others know
        assert command(model, [f"start={start}"], "digits").endswith(f" start={start}")
    assert command(model, ["start=hf:/home/anna"], "digits").endswith(" start=FOLDER")


def test_texts_lose_the_places_that_the_settings_name() -> None:
    known = list(places({"data": {"root": "~/horses", "names": ["a", "/srv/x"]}, "run_dir": "/srv/anna"}))
    said = f"folder: 3 images of {Path.home()}/horses, ~/horses, /srv/x, /srv/anna/checkpoints"
    assert without(said, known) == "folder: 3 images of FOLDER, FOLDER, FOLDER, FOLDER/checkpoints"


# The card -------------------------------------------------------------------------------------------------------------

HOSTILE = "]](javascript:x) `rm` | <script> \x1b[31m\n# title **b**"


def about(**more: Any) -> dict[str, Any]:
    stated = {
        "name": "digits",
        "load": "hf:me/digits",
        "variant": "CGAN",
        "task": "unconditional-image-generation",
        "images": 3_000,
        "figures": {"fid_mnist": {"value": 1.25, "low": 1.0, "high": 1.5}, "X->Y/l1": {"value": 2.0, "low": None}},
        "headline": ["fid_mnist"],
        "protocol": {"split": "test", "extractor": "mnist"},
        "interval": "mean of 5",
        "command": "python train.py model=cgan",
        "seed": 1,
        "versions": {"torch": "2.15"},
        "data": {"name": "digits", "description": "1,797 digits", "licence": "cc-by-4.0", "words": "UCI"},
        "licence": "cc-by-4.0",
        "picture": "each class",
        "bits": 32,
        "networks": ["G"],
    }
    return stated | more


def front(text: str) -> Any:
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("\n---\n")[0])


def test_the_hub_reads_the_card() -> None:
    text = card.card(about(), ["0", "1"], ["zoo sample hf:me/digits"])
    metadata = front(text)
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["library_name"] == "gan-zoo"
    assert metadata["metrics"] == ["fid_mnist"]
    name, (result,) = model_index_to_eval_results(metadata["model-index"])
    assert (name, result.metric_type, result.metric_value) == ("digits", "fid_mnist", 1.25)
    assert (result.task_type, result.dataset_type, result.dataset_split) == (metadata["pipeline_tag"], "digits", "test")
    for part in ("| **fid\\_mnist** | 1.25 | 1 to 1.5 |", "2 classes: 0, 1.", 'zoo.load("hf:me/digits")', "UCI",
                 "python train.py model=cgan", "(samples.png)", "zoo sample hf:me/digits"):  # fmt: skip
        assert part in text


def test_a_card_without_figures_or_licence_says_so() -> None:
    unknown = about()["data"] | {"licence": "unknown"}
    nothing: dict[str, Any] = {"figures": {}, "headline": [], "protocol": {}, "licence": "unknown", "data": unknown}
    text = card.card(about(**nothing, picture=""), [], [])
    assert "model-index" not in front(text)
    assert "None: nothing was measured (metrics=none)." in text
    assert "`unknown`: fill in" in text
    assert "samples.png" not in text
    assert card.summary(about(**nothing)) == [
        "no figures: nothing was measured (metrics=none)",
        "the licence is unknown: fill it in, --license and, of the images, --data-license",
    ]


def test_names_of_strangers_are_text_on_a_card() -> None:
    data = {"name": HOSTILE, "description": HOSTILE, "licence": HOSTILE, "words": HOSTILE}
    text = card.card(
        about(name=HOSTILE, load=HOSTILE, command=HOSTILE, data=data, picture=HOSTILE), [HOSTILE], [HOSTILE]
    )
    assert front(text)["datasets"] == [HOSTILE]
    body = text.split("\n---\n", 1)[1]
    assert "\x1b" not in text
    assert "\n# title" not in body
    assert not re.search(r"(?<!\\)<script>|(?<!\\)\]\(javascript", re.sub(r"```.*?```|`[^`]*`", "", body, flags=re.S))
    assert body.count("```") % 2 == 0


@pytest.mark.parametrize("name", ["cgan", "dcgan", "srgan"])
def test_pictures(name: str) -> None:
    from hydra.utils import instantiate

    model = untrained(name)
    data = instantiate(model.config["data"], _convert_="all")
    data.prepare_data()
    image, caption = picture(model, data)
    assert image is not None
    assert image.startswith(b"\x89PNG")
    assert caption
    again, _ = picture(model, data)
    assert again == image
    if not isinstance(model, FromLatents):
        assert picture(model, None) == (None, "")
    assert bool(classes_of(model)) == ("class" in caption)


def test_what_a_config_says_is_read_again(tmp_path: Path) -> None:
    folder.write(tmp_path / "w", weights_of(untrained("dcgan"), about()), card="", pictures={})
    assert json.loads((tmp_path / "w" / folder.CONFIG).read_text())["about"] == about()
    assert checkpoint.content(tmp_path / "w").about == about()
