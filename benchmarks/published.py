"""Makes the published weights, zoo/published/NAME, again: trains each by its recipe, then `zoo publish`.

    python benchmarks/published.py                          # all: some hours on one core
    python benchmarks/published.py dcgan-mnist5k
    python benchmarks/published.py dcgan-mnist data.root=~/mnist.npz
    python benchmarks/published.py --runs outputs/published --only-publish     # of runs that are there

Only data whose licence allows it: each card names it (zoo/data/licence.py). A file has at most 3 MB, all together 16:
with `--half` where 32 bits would be more, and the card then shows the figures of both.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "zoo" / "published"
LARGEST, ALL = 3_000_000, 16_000_000  # bytes
ZOO = (sys.executable, "-c", "from zoo.cli import main; main()")

# name -> what train.py is given, what zoo publish is given
RECIPES: dict[str, tuple[list[str], list[str]]] = {
    "vanilla-mnist5k": (["model=vanilla", "model.hidden=[256,512,768]"], ["--half"]),
    "dcgan-mnist5k": ([], ["--with-discriminator"]),
    "cgan-mnist5k": (["model=cgan"], []),
    "pix2pix-masked_digits": (["model=pix2pix", "model.width=16"], ["--half"]),
    "cyclegan-colour_digits": (["model=cyclegan"], ["--half"]),
    "srgan-photos": (["model=srgan"], []),
    "stylegan_lite-mnist5k": (["model=stylegan_lite"], ["--half", "--with-discriminator"]),
    "dcgan-mnist": (["experiment=dcgan_mnist"], ["--with-discriminator"]),
}


def make(name: str, runs: Path, more: list[str], *, train: bool) -> None:
    """Train one, unless that is done, and put its folder in the place of the one that is there."""
    training, publishing = RECIPES[name]
    run = runs / name
    if train:
        command = [sys.executable, str(ROOT / "train.py"), *training, "logger=csv", "seed=1", *more]
        subprocess.run([*command, f"hydra.run.dir={run}"], cwd=ROOT, check=True)
    place, part = PUBLISHED / name, runs / "part" / name
    shutil.rmtree(part, ignore_errors=True)
    subprocess.run([*ZOO, "publish", str(run), *more, *publishing, "-o", str(part)], cwd=ROOT, check=True)
    size = (part / "model.safetensors").stat().st_size
    if size > LARGEST:
        raise SystemExit(f"{name} has {size:,} bytes, more than {LARGEST:,}: {part} is not published")
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(part, place)


def table_into(page: Path) -> None:
    """The table of the published weights, in its place on a page."""
    sys.path.insert(0, str(ROOT))
    from zoo.use.published import table

    before, start, rest = page.read_text(encoding="utf-8").partition("<!-- published -->\n")
    _, end, after = rest.partition("<!-- /published -->")
    page.write_text(before + start + "\n".join(table()) + "\n" + end + after, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="NAME or SETTING", help="by default every name")
    parser.add_argument("--runs", type=Path, default=ROOT / "outputs" / "published", help="where runs are or go")
    parser.add_argument("--only-publish", action="store_true", help="the runs are there")
    parser.add_argument("--only-table", action="store_true", help="write docs/weights.md's table again, and no more")
    asked = parser.parse_args()
    names = [word for word in asked.words if "=" not in word]
    if unknown := [name for name in names if name not in RECIPES]:
        parser.error(f"{unknown[0]} is none of {', '.join(RECIPES)}")
    for name in [] if asked.only_table else names or RECIPES:
        more = [word for word in asked.words if "=" in word]
        make(name, asked.runs.resolve(), more, train=not asked.only_publish)
    table_into(ROOT / "docs" / "weights.md")
    if (size := sum(path.stat().st_size for path in PUBLISHED.rglob("*") if path.is_file())) > ALL:
        raise SystemExit(f"the published weights have {size:,} bytes together, more than {ALL:,}")


if __name__ == "__main__":
    main()
