"""zoo evaluate --protocols: one set of fakes by the protocols of the literature."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import zoo
from zoo.batch import from_bytes, to_bytes
from zoo.cli import app
from zoo.cli.measure import of_run
from zoo.metrics import protocols
from zoo.metrics.extractors import DigitClassifier, Inception
from zoo.metrics.frechet import estimate, frechet, moments
from zoo.metrics.protocols import Row, Table, ways_of
from zoo.metrics.side import Side
from zoo.weights.names import find


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments), "--protocols"], catch_exceptions=False)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """The text and the JSON of a published model, 300 fakes at most, and 120 by another cut."""
    file = tmp_path_factory.mktemp("protocols") / "protocols.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocols, "NUMBERS", (120, 5_000))
        result = run("vanilla-mnist5k", "metrics.num_fake=300", f"cache_dir={file.parent}/cache", "--json", file)
    assert result.exit_code == 0, result.output
    return result.stdout, json.loads(file.read_text())


@pytest.mark.slow
def test_the_rows_and_what_is_left_out(report: tuple[str, dict[str, Any]]) -> None:
    text, content = report
    names = [
        f"fid_mnist-{n}-{split}-native-{rounding}"
        for rounding in ("uint8", "float")
        for n in (300, 120)
        for split in ("train", "test")
    ]
    assert [row["name"] for row in content["rows"]] == names
    assert [line.split()[0] for line in text.splitlines() if "-native-" in line] == names
    assert {row["reals"] for row in content["rows"] if row["split"] == "train"} == {4_000}
    assert {row["reals"] for row in content["rows"] if row["split"] == "test"} == {1_000}
    for row in content["rows"]:
        for value in (row["fid_mnist"], row["infinity"]):
            low, high = value["interval"]
            assert low < value["value"] < high
        assert row["infinity"]["value"] < row["fid_mnist"]["value"]
    assert "one way of resizing" in text
    assert "others' are of Inception" in text
    assert content["protocol"]["generator"] == "EMA"


@pytest.mark.slow
def test_the_values_are_those_of_one_set_of_fakes(report: tuple[str, dict[str, Any]]) -> None:
    """Held against the model's own images, and the data's."""
    values = {row["name"]: row["fid_mnist"]["value"] for row in report[1]["rows"]}
    model = zoo.load("vanilla-mnist5k")
    fakes = model.generate(torch.arange(300))
    data, _ = of_run(model, find("vanilla-mnist5k"), [])
    extractor = DigitClassifier()
    for split in ("train", "test"):
        images = data.split(split)
        batch = images[range(len(images))].image
        reals = moments(torch.cat([extractor(part) for part in batch.split(500)]))
        for n in (120, 300):
            rounded, smooth = extractor(to_bytes(fakes[:n])), extractor.smooth(fakes[:n].clamp(-1, 1))
            for rounding, features in (("uint8", rounded), ("float", smooth)):
                expected = frechet(reals, moments(features))
                assert values[f"fid_mnist-{n}-{split}-native-{rounding}"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_a_translator_has_as_many_fakes_as_inputs() -> None:
    result = run("cyclegan-colour_digits", "metrics.num_real=6", "--json", "-")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert "CycleGAN makes one image of each input" in content["remarks"][0]
    assert {row["preview"] for row in content["rows"]} == {"X->Y", "Y->X"}
    assert {(row["fakes"], row["infinity"]) for row in content["rows"]} == {(6, None)}
    assert {row["split"] for row in content["rows"]} == {"train", "test"}
    for asked, made in ((5, 5), (600, 6)):  # of the six inputs
        result = run("cyclegan-colour_digits", "metrics.num_real=6", f"metrics.num_fake={asked}", "--json", "-")
        assert {row["fakes"] for row in json.loads(result.stdout)["rows"]} == {made}


@pytest.mark.slow
def test_what_does_not_go_together_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="leave --data, --ppl, --nearest, others out"):
        run("stylegan_lite-mnist5k", "--ppl", 10)
    with pytest.raises(ValueError, match="metrics that have some"):
        run("srgan-photos")
    with pytest.raises(ValueError, match=r"--json .* is a folder: give a file"):
        run("vanilla-mnist5k", "--json", Path(__file__).parent)
    with pytest.raises(ValueError, match="--json x is for --protocols"):
        CliRunner().invoke(app, ["evaluate", "vanilla-mnist5k", "--json", "x"], catch_exceptions=False)


class Stand(Inception):
    """Inception with a network of two numbers in place of its own."""

    num_features = 6

    def load(self) -> None:
        self.weights_sha256 = "0" * 64

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(self.inputs(images), (1, 2)).flatten(1)


@pytest.mark.slow
def test_inception_has_each_way_of_resizing_once() -> None:
    ways, remarks = ways_of(Stand(), (32, 32))
    assert [(way.resize, way.rounding) for of_resize in ways for way in of_resize] == [
        ("tensorflow", "uint8"),
        ("tensorflow", "float"),
        *((mode, "uint8") for mode in ("antialias", "clean", "pytorch")),
    ]
    assert not remarks
    ways, remarks = ways_of(Stand(), (299, 299))
    assert [of_resize[0].resize for of_resize in ways] == ["tensorflow", "pytorch"]
    assert len(remarks) == 2
    model = zoo.load("vanilla-mnist5k")
    data, _ = of_run(model, find("vanilla-mnist5k"), [])
    table = protocols.measure(
        model.preview, data, Stand(), numbers=[40], num_real=60, split="train", size=(32, 32), batch_size=100, drawn=50,
        cache_dir=None, device="cpu", protocol={},
    )  # fmt: skip
    assert len(table.rows) == 10
    assert len({row.value.value for row in table.rows}) == 10
    (plain,) = (row for row in table.rows if row.name == "fid-40-train-clean-uint8")
    loader = data.evaluation_loader(split="train", num=60, batch_size=60)
    images = to_bytes(next(iter(loader)).image)
    clean = Stand().with_resize("clean")
    real, fake = (moments(clean.features(x)) for x in (images, to_bytes(model.generate(torch.arange(40)))))
    assert plain.value.value == pytest.approx(frechet(real, fake), rel=1e-5)


def test_who_publishes_is_named_with_the_source() -> None:
    a = torch.randn(50, 3)
    value = estimate(moments(a), moments(a + 1), a, a + 1)
    sources = {
        (resize, split, n, rounding): list(protocols.publishing(resize, split, n, rounding, 50_000))
        for resize in ("tensorflow", "antialias", "clean", "pytorch", "native")
        for split in ("train", "test")
        for n in protocols.NUMBERS
        for rounding in ("uint8", "float")
    }
    names = {key: [source.who.split()[0] for source in of_row] for key, of_row in sources.items()}
    assert names["tensorflow", "train", 50_000, "uint8"] == ["StyleGAN2-ADA", "mimicry"]
    assert names["clean", "train", 50_000, "uint8"] == ["clean-fid's"]
    assert names["clean", "test", 50_000, "uint8"] == []
    assert names["tensorflow", "test", 10_000, "float"] == ["compare_gan"]
    assert names["native", "test", 10_000, "float"] == ["compare_gan"]  # counted so, by another extractor
    assert "torchmetrics'" not in names["native", "train", 50_000, "uint8"]
    published = sources["tensorflow", "train", 50_000, "uint8"]
    row = Row("fid-50k", "samples", "tensorflow", "train", 50_000, 50_000, "uint8", value, None, tuple(published))
    table = Table("fid", [row], [], {})
    assert table.sources() == published
    assert table.markdown().splitlines()[2].startswith("| fid-50k | ")
    assert table.markdown().splitlines()[0].endswith("| published by |")


def test_who_publishes_but_for_the_number_is_named_with_theirs() -> None:
    def words(n: int, resize: str = "tensorflow", split: str = "train", most: int = 0) -> str:
        value, sources = estimate(*[moments(torch.eye(3))] * 2, *[torch.eye(3)] * 2), protocols.publishing
        found = sources(resize, split, n, "uint8", most or n)
        return Row("fid", "samples", resize, split, n, 9, "uint8", value, None, found).published_by

    assert words(1_000).startswith(
        "but for the number: StyleGAN2-ADA (fid50k_full), of 50,000; mimicry, of 50,000; TTUR"
    )
    assert words(1_000, "clean") == words(50_000, "clean") == "clean-fid's default (mode clean)"
    assert words(10_000, "clean") == words(10_000, "clean", most=10_000), "the most that there are"
    assert words(10_000, "clean", most=50_000) == ""
    assert words(10_000, "pytorch", "test") == "StudioGAN in 2020 (CIFAR-10)"
    assert words(300, "pytorch", "test") == "but for the number: StudioGAN in 2020 (CIFAR-10), of 10,000"
    assert words(10_000) == "TTUR (the least it recommends)"
    assert words(300, "native", "test").startswith("but for the number: SN-GAN"), (
        "no default of a resize that is not here"
    )


@pytest.mark.slow
def test_of_a_translator_of_pairs_a_pair_is_one_draw() -> None:
    """With the intervals of zoo evaluate, to the last digit, where images are drawn from more."""
    name = "pix2pix-masked_digits"
    model = zoo.load(name)
    data, evaluation = of_run(model, find(name), ["metrics.num_real=36", "metrics.prc_images=20", "cache_dir=null"])
    expected = evaluation.evaluate(model.preview, data, device="cpu").estimates
    table = protocols.measure(
        model.preview, data, evaluation.extractor, numbers=None, num_real=36, split=evaluation.split,
        size=data.rows.image_size, batch_size=36, drawn=20, cache_dir=None, device="cpu", protocol={},
    )  # fmt: skip
    same, *_ = (row for row in table.rows if (row.split, row.rounding) == (evaluation.split, "uint8"))
    (one,) = (value for key, value in expected.items() if key.endswith(table.distance))
    assert len(one.pairs) == 20
    assert same.value.interval() == pytest.approx(one.interval(), rel=1e-6)
    assert same.infinity is not None
    assert len(same.infinity.pairs) == 20
    for row in table.rows:
        others = row.split != evaluation.split
        assert bool(len(row.value.fakes)) == others, "of the other split's reals there are no pairs"


@pytest.mark.slow
def test_real_features_are_kept_from_one_table_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [
        "vanilla-mnist5k",
        "metrics.num_fake=40",
        "metrics.num_real=50",
        f"cache_dir={tmp_path}",
        "--json",
        "-",
    ]
    first = run(*arguments).stdout
    assert len(list(tmp_path.glob("**/*.safetensors"))) == 2  # train and test
    monkeypatch.setattr(Side, "update", lambda *_: pytest.fail("a real image was looked at again"))
    assert json.loads(run(*arguments).stdout) == json.loads(first)


def test_bytes_and_floats_of_bytes_are_one() -> None:
    images = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8)
    extractor = DigitClassifier()
    assert torch.allclose(extractor.smooth(from_bytes(images)), extractor(images), atol=1e-4)
