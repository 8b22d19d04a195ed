"""The ten one-class tasks on the embedded digits: f-AnoGAN beside three baselines on the same images.

    python scripts/one_class.py FOLDER                              # ten classes, seeds 1, 2 and 3
    python scripts/one_class.py FOLDER --seeds 1 --classes 3,8 model.width=32
    python scripts/one_class.py FOLDER --table                      # of what is there so far

In each task one digit is normal: the model is trained on its 400 images alone, and the 1,000 test images of all ten are
told apart by score. A row is the AUROC of a task, the mean over seeds; the last row the mean over tasks, with the
standard deviation over seeds. Beside it, on the same pixels at the same size:

    nearest    the distance to the nearest training image, by pixels
    mean       the distance to the mean training image
    pca        the distance to its projection onto the first k principal components of the training images, for each of
               COMPONENTS: the column is the best k by the mean over the ten tasks, so chosen on the test images
               themselves, which favours the baseline

f-AnoGAN's is the value at the end of training, of last.ckpt: no checkpoint is chosen on the test images either. A task
that has been trained is kept in FOLDER/results.json, and is not trained again: the script goes on where it was stopped.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

COMPONENTS = (4, 8, 16, 32, 64, 128)
SETTINGS = ("data.image_size=16", "data.batch_size=32", "max_images=96_000", "logger=none", "trainer=cpu")
QUIET = ("callbacks.evaluate.every=1_000_000_000", "callbacks.samples.every=1_000_000_000")


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def trained(digit: int, seed: int, settings: list[str]) -> dict[str, float]:
    """The values of a task at the end of its training."""
    import train
    from zoo.run.callbacks.evaluate import Evaluate
    from zoo.run.config import compose

    with tempfile.TemporaryDirectory() as folder:
        cfg = compose(
            "model=f_anogan", f"data.normal=[{digit}]", f"seed={seed}", *SETTINGS, *QUIET, f"run_dir={folder}/run",
            "callbacks.report.overrides=[]", *settings,
        )  # fmt: skip
        evaluate = Evaluate.of(train.run(cfg))
        assert evaluate is not None
        return {name: value for name, value in evaluate.history[-1].items() if name.startswith(("auroc", "average"))}


def baselines(digit: int, settings: list[str]) -> dict[str, float]:
    """The AUROC of each baseline on a task."""
    import torch
    from hydra.utils import instantiate
    from torchmetrics.functional.classification import binary_auroc

    from zoo.batch import from_bytes
    from zoo.metrics.anomaly import in_order
    from zoo.run.config import compose

    data = instantiate(compose("model=f_anogan", f"data.normal=[{digit}]", *SETTINGS, *settings).data, _convert_="all")
    data.prepare_data()
    data.setup("validate")
    x, test = (from_bytes(data.split(split).images).flatten(1) for split in ("train", "test"))
    abnormal = (data.split("test").labels != digit).int()
    auroc = lambda score: float(binary_auroc(in_order(score), abnormal))
    centred = test - x.mean(0)
    *_, components = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    values = {"nearest": auroc(torch.cdist(test, x).min(1).values), "mean": auroc(centred.square().sum(1))}
    for k in COMPONENTS:
        rest = centred - centred @ components[:k].T @ components[:k]
        values[f"pca {k}"] = auroc(rest.square().sum(1))
    return values


def table(kept: dict[str, Any]) -> list[str]:
    """The rows, as Markdown."""
    seeds = sorted({key.split("/")[1] for key in kept["f_anogan"]})
    digits = sorted(kept["baselines"], key=int)
    of_pca = {k: statistics.fmean(kept["baselines"][d][f"pca {k}"] for d in digits) for k in COMPONENTS}
    best = max(of_pca, key=lambda k: of_pca[k])
    columns = ["nearest", "mean", f"pca {best}"]
    lines = [f"| normal | f-AnoGAN | {' | '.join(columns)} |", f"|---|---|{'---|' * len(columns)}"]
    whole: dict[str, list[float]] = {seed: [] for seed in seeds}
    for d in digits:
        values = {seed: kept["f_anogan"][key]["auroc"] for seed in seeds if (key := f"{d}/{seed}") in kept["f_anogan"]}
        for seed, value in values.items():
            whole[seed].append(value)
        mean = f"{statistics.fmean(values.values()):.3f}" if values else ""
        beside = " | ".join(f"{kept['baselines'][d][c]:.3f}" for c in columns)
        lines.append(f"| {d} | {mean} | {beside} |")
    means = [statistics.fmean(values) for values in whole.values() if len(values) == len(digits)]
    spread = f" +- {statistics.stdev(means):.3f}" if len(means) > 1 else ""
    own = f"{statistics.fmean(means):.3f}{spread}" if means else "unfinished"
    rest = " | ".join(f"{statistics.fmean(kept['baselines'][d][c] for d in digits):.3f}" for c in columns)
    return [*lines, f"| mean of {len(digits)} tasks, {len(means)} seeds | {own} | {rest} |"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("settings", nargs="*", help="of train.py, such as max_images=50_000")
    parser.add_argument("--seeds", type=numbers, default=[1, 2, 3])
    parser.add_argument("--classes", type=numbers, default=list(range(10)))
    parser.add_argument("--table", action="store_true", help="print what is there, and train nothing")
    asked = parser.parse_intermixed_args()

    from zoo.atomic import replacing

    path = asked.folder / "results.json"
    kept = {"settings": asked.settings, "f_anogan": {}, "baselines": {}}
    if path.exists():
        kept = json.loads(path.read_text())
        if asked.settings and kept["settings"] != asked.settings:
            raise SystemExit(f"{path} is of the settings {kept['settings']}: give another folder, or these")
    elif asked.table:
        raise SystemExit(f"{path} does not exist: run it without --table first")
    if not asked.table:
        asked.folder.mkdir(parents=True, exist_ok=True)
        for seed in asked.seeds:
            for digit in asked.classes:
                if str(digit) not in kept["baselines"]:
                    kept["baselines"][str(digit)] = baselines(digit, kept["settings"])
                if f"{digit}/{seed}" not in kept["f_anogan"]:
                    kept["f_anogan"][f"{digit}/{seed}"] = trained(digit, seed, kept["settings"])
                with replacing(path) as part:
                    part.write_text(json.dumps(kept, indent=1))
    print("\n".join(table(kept)))


if __name__ == "__main__":
    main()
