"""From where to where the health of the game lay in some runs: README's table of what is healthy.

    python benchmarks/health_ranges.py RUN...                 # from image 30,000 on
    python benchmarks/health_ranges.py RUN --from 0

One line for each quantity of zoo/run/callbacks/health.py: its lowest and highest value in the runs' metrics.csv.
D's accuracies are taken where there is a look at the game, as there they are judged.
"""

import argparse
import csv
from pathlib import Path

NAMES = ("accuracy_real", "accuracy_fake", "gap", "diversity", "spread", "movement", "duplicates")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--from", dest="first", type=int, default=30_000, metavar="IMAGE")
    asked = parser.parse_args()
    values: dict[str, list[float]] = {name: [] for name in NAMES}
    for run in asked.runs:
        with (run / "metrics.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if float(row["images"]) >= asked.first]
        for row in rows:
            if not any(value for name, value in row.items() if name.startswith("health/")):
                continue
            for name, value in row.items():
                if value and (last := name.rsplit("/", 1)[-1]) in values:
                    values[last].append(float(value))
    for name, found in values.items():
        if found:
            print(f"{name:16}{min(found):.3f} to {max(found):.3f}")


if __name__ == "__main__":
    main()
