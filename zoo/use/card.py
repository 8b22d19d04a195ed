"""The card of a weights folder: README.md in the form of the hub's model cards, with its front matter.

Front matter: https://huggingface.co/docs/hub/model-cards; the results are a model-index, as in
https://github.com/huggingface/hub-docs/blob/main/modelcard.md. Everything it says stands in the folder's config.json
too, as `about`, from which it is written. Names of classes, data and files are a stranger's: on a card they are text,
not Markdown.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from zoo.text import printable, shortened

PICTURE = "samples.png"
UNKNOWN = "unknown"


def front_matter(about: Mapping[str, Any]) -> dict[str, Any]:
    """The card's metadata, as the hub reads them."""
    figures, headline = about.get("figures", {}), about.get("headline", [])
    data = about["data"]
    results = {
        "task": {"type": about["task"], "name": about["task"].replace("-", " ")},
        "dataset": {"type": data["name"], "name": data["name"], "split": str(about["protocol"].get("split", "train"))},
        "metrics": [
            {"type": _metric(name), "name": name, "value": figures[name]["value"]} for name in headline or figures
        ],
    }
    front: dict[str, Any] = {
        "library_name": "gan-zoo",
        "license": about["licence"],
        "pipeline_tag": about["task"],
        "tags": ["gan", about["variant"].lower(), "gan-zoo", "pytorch"],
        "datasets": [data["name"]],
    }
    if figures:
        front["metrics"] = list(dict.fromkeys(_metric(name) for name in headline or figures))
        front["model-index"] = [{"name": about["name"], "results": [results]}]
    return front


def card(about: Mapping[str, Any], classes: list[str], uses: list[str]) -> str:
    """The text of README.md.

    Args:
        about: as config.json has it; see `zoo/cli/publish.py`.
        classes: the names of the classes that the model can be asked for.
        uses: commands that it is good for.
    """
    front = yaml.safe_dump(front_matter(about), sort_keys=False, allow_unicode=False, width=1000)
    name, data = about["name"], about["data"]
    picture = (
        [f"![{text(about['picture'])}]({PICTURE})", "", f"*{text(about['picture'])}*", ""] if about["picture"] else []
    )
    lines = [
        *("---", front.rstrip(), "---", "", f"# {text(name)}", ""),
        f"A {text(about['variant'])} of gan-zoo, trained on {text(data['name'])}, shown {about['images']:,} images.",
        *("", *picture),
        *("## Use", "", "```sh", *(code(line) for line in uses), "```", ""),
        *(
            "```python",
            "import zoo",
            "",
            f"model = zoo.load({json.dumps(code(about['load']), ensure_ascii=False)})",
            "```",
            "",
        ),
        *("## Figures", "", *_figures(about), ""),
        *("## Training", "", "```sh", code(about["command"]), "```", ""),
        f"Seed {text(about['seed'])}. Versions, when it was published: "
        + ", ".join(f"{text(name)} {text(version)}" for name, version in about["versions"].items())
        + ".",
        *("", "## Data and licence", ""),
        f"- Data: {text(data['description'])}.",
        f"- Its licence: `{code(data['licence'])}`. {text(data['words'])}.",
        f"- These weights: `{code(about['licence'])}`{'' if about['licence'] != UNKNOWN else ': fill in'}.",
    ]
    if classes:
        some = ", ".join(text(shortened(name, length=40)) for name in classes[:100])
        lines += ["", f"{len(classes)} classes: {some}{', ...' if len(classes) > 100 else ''}."]
    lines += [
        *("", "## Files", ""),
        f"`model.safetensors`: {text(', '.join(about['networks']))}, numbers of {about['bits']} bits. "
        "`config.json`: the variant, its settings, and all of the above as data. Nothing in this folder is code.",
        "",
    ]
    return "\n".join(lines)


def _figures(about: Mapping[str, Any]) -> list[str]:
    figures, others = about.get("figures", {}), about.get("figures_in_32_bits", {})
    if not figures:
        return ["None: nothing was measured (metrics=none)."]
    columns = ["value", "interval", *(["in 32 bits"] if others else [])]
    lines = [f"| metric | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, figure in figures.items():
        cells = [number(figure["value"]), spread(figure)]
        cells += [number(others[name]["value"])] if others else []
        shown = f"**{text(name)}**" if name in about["headline"] else text(name)
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    lines += ["", f"Measured on the file in this folder. Interval: {text(about['interval'])}."]
    if others:
        lines.append("The last column has the same images of the same weights before they were stored in 16 bits.")
    lines += ["", "Protocol: " + "; ".join(f"{text(k)} {text(v)}" for k, v in about["protocol"].items()) + "."]
    return lines


def summary(about: Mapping[str, Any]) -> list[str]:
    """What there is to say of a card at once: its figures, and what it lacks."""
    figures = {name: about["figures"][name] for name in about["headline"]}
    lines = [f"{name} {number(figure['value'])} [{spread(figure)}]" for name, figure in figures.items()]
    if not about["figures"]:
        lines.append("no figures: nothing was measured (metrics=none)")
    if UNKNOWN in (about["licence"], about["data"]["licence"]):
        lines.append("the licence is unknown: fill it in, --license and, of the images, --data-license")
    return lines


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"


def spread(figure: Mapping[str, Any]) -> str:
    """The interval of a figure; empty where there is none."""
    return f"{number(figure['low'])} to {number(figure['high'])}" if figure.get("low") is not None else ""


def text(value: Any) -> str:
    """Someone's text as text on a card: on one line, and without a meaning in Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!&$])", r"\\\1", printable(str(value)))


def code(value: str) -> str:
    """Someone's text within code: on one line, and no end of it."""
    return printable(value).replace("`", "'")


def _metric(name: str) -> str:
    """A value's name without its preview: X->Y/fid_mnist is fid_mnist."""
    return name.rpartition("/")[2]
