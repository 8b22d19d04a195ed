"""The page of `zoo demo`, on Gradio: what a model can do, a tab for each ability, by zoo/use/demo/shown.py.

Import it within `server.apart`: Gradio takes where to keep its files, and that it shall tell nobody, from the
environment, as it is imported.

Who waits for whom: what is quick (a draw, a step of a slider) has places of its own, so that it never waits for a
search or a conversion; of each kind some run at once, the others wait in a queue of a bounded length.
"""

import html
import os
import random
import re
import traceback
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import processing_utils
from gradio.utils import get_upload_folder

from zoo.game.abilities import FromLatents, Scores, Styles, Translates, Upscales
from zoo.text import printable
from zoo.use.demo.server import KEPT
from zoo.use.demo.shown import (
    EACH,
    LARGEST,
    MOST_BYTES,
    MOST_CLASSES,
    MOST_SEEDS,
    MOST_STEPS,
    OWN,
    PART,
    STRENGTH,
    Found,
    Looks,
    Shown,
)

QUICK, LONG = 4, 2  # of each kind, how many run at once
WAITING = 32  # in the queue, before a visitor is told that the page is busy
STEPS, NEAR = 300, 100  # of a search, by default: without and with an encoder
SEEDS = 2**31  # that a visitor can type: what a browser's numbers hold, and more than a person will
SYSTEM, MONO = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]  # no font is fetched
CSS = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
.crisp img { image-rendering: pixelated; width: 100% !important; height: 100% !important; object-fit: contain; }
.said p { opacity: .75; font-size: .92em; }
.captioned { gap: .3em !important; }
.caption p { font-weight: 600; }
#notice { border-left: 4px solid #d97706; padding: .4em 1em; }
"""
CONVERTS: dict[str, Any] = {"long": "convert", "at_once": True, "raw": True}  # what is called for a dropped picture
Explain = Callable[[BaseException], str | None]


async def _not_fetched(*arguments: Any, **settings: Any) -> str:
    raise gr.Error("the picture is not a file that was sent to this page: drop it again", print_exception=False)


processing_utils.async_ssrf_protected_download = (
    _not_fetched  # Gradio fetches what a visitor's request names: never here
)


def page(shown: Shown, explain: Explain) -> gr.Blocks:
    """The page, which `server.application` serves.

    Args:
        explain: what went wrong, in a sentence; None for what can only be a fault of the program.
    """
    with gr.Blocks(title=f"{shown.name} - GAN zoo", analytics_enabled=False, delete_cache=(KEPT // 6, KEPT)) as blocks:
        gr.Markdown(f"# {escaped(shown.name)}\n{escaped(shown.about())}")
        notice = gr.Markdown(visible=False, elem_id="notice")
        part = _Part(blocks, shown, explain)
        watch = lambda: gr.Markdown(escaped(shown.notice()), visible=bool(shown.notice()))
        for event in (blocks.load, gr.Timer(5).tick):
            event(watch, None, notice, show_progress="hidden", api_visibility="private", concurrency_id="notice")
        with gr.Tabs():
            for ability, title, build in TABS:
                if isinstance(shown.model, ability):
                    with gr.Tab(title) as tab:
                        build(part.within(tab))
    blocks.queue(max_size=WAITING, default_concurrency_limit=QUICK, api_open=False)
    return blocks


def escaped(text: str) -> str:
    """Text that may be a stranger's, for a page: no markup, nothing that moves it."""
    return re.sub(r"([\\`*_{}\[\]<>#|$])", lambda c: f"&#{ord(c[1])};", html.escape(printable(text), quote=False))


class _Part:
    """A tab that is being built: its first pictures are drawn when it is opened, the first tab's with the page."""

    def __init__(self, blocks: gr.Blocks, shown: Shown, explain: Explain) -> None:
        self.blocks, self.shown, self.explain = blocks, shown, explain
        self.tab: Any = None
        self.first = True

    def within(self, tab: Any) -> "_Part":
        self.first, self.tab = self.tab is None, tab
        return self

    def said(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """What goes wrong in a function as a sentence in the page."""

        @wraps(function)
        def run(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except gr.Error:
                raise
            except Exception as error:
                words = self.explain(error)
                if words is None:
                    traceback.print_exception(error)
                    words = "this went wrong by a fault of the program: the terminal that it runs in says more"
                words = re.sub(re.escape(self.blocks.GRADIO_CACHE) + r"/\w+/", "", words)  # of a file's name
                raise gr.Error(html.escape(printable(words)), duration=15, print_exception=False) from None

        return run

    def on(
        self, events: Sequence[Any], function: Callable[..., Any], inputs: Sequence[Any], outputs: Any, *,
        long: str | None = None, at_once: bool = False, raw: bool = False, after: Sequence[Any] = (),
    ) -> None:  # fmt: skip
        """Call a function of the inputs' values at these events.

        Args:
            long: the kind of what takes long, of which LONG run at once.
            at_once: at the start too, when the tab is first seen.
            raw: the inputs' values are what the browser says, with which Gradio has done nothing: it would decode
                pictures by itself.
            after: events of Gradio's own, once what they call is done.
        """
        settings: dict[str, Any] = {
            "show_progress": "full" if long else "hidden",
            "concurrency_id": long or "quick",
            "concurrency_limit": LONG if long else QUICK,
            "api_visibility": "private",
            "preprocess": not raw,
        }
        run = self.said(function)
        if events:
            gr.on(list(events), run, list(inputs), outputs, trigger_mode="always_last", **settings)
        for event in after:
            event.then(run, list(inputs), outputs, trigger_mode="always_last", **settings)
        if at_once:
            begin = self.blocks.load if self.first else self.tab.select
            begin(run, list(inputs), outputs, **settings)


# Controls that several tabs have -------------------------------------------------------------------------------------


def _seed(value: int, label: str) -> gr.Number:
    return gr.Number(value, label=label, precision=0, minimum=0, maximum=SEEDS, min_width=100)


def _class(shown: Shown, own: str, *, each: bool = False) -> gr.Dropdown:
    choices: list[tuple[str, int]] = [(own, OWN), *([("a row of each", EACH)] if each else [])]
    choices += [(name, label) for label, name in enumerate(shown.classes)]
    return gr.Dropdown(choices, value=EACH if each else OWN, label="Class")


class _Looks:
    """Class, truncation, attributes: as far as the model has them."""

    def __init__(self, shown: Shown, *, each: bool = False, own: str = "each seed its own") -> None:
        self.shown = shown
        self.label = self.psi = None
        self.attributes: list[gr.Slider] = []
        if shown.classes:
            self.label = _class(shown, own, each=each and len(shown.classes) <= MOST_CLASSES)
        if shown.can_truncate:
            self.psi = gr.Slider(
                0, 2, shown.psi, step=0.05, label="Truncation", info="0: the mean image; 1: none; more: stranger"
            )
        for name in shown.attributes:
            self.attributes.append(gr.Slider(-1, 2, 0, step=0.05, label=name))

    @property
    def controls(self) -> list[Any]:
        return [control for control in (self.label, self.psi, *self.attributes) if control is not None]

    def of(self, values: Sequence[Any]) -> Looks:
        """What the controls' values mean."""
        left = list(values)
        label = left.pop(0) if self.label is not None else OWN
        psi = left.pop(0) if self.psi is not None else None
        return Looks(label, psi, left)


def _picture(caption: str, name: str, **settings: Any) -> gr.Image:
    """Where a picture is shown, below its caption, which else would lie on it."""
    with gr.Column(min_width=240, visible=settings.pop("visible", True), elem_classes="captioned"):
        gr.Markdown(caption, elem_classes="caption")
        settings = {"buttons": ["download", "fullscreen"], "show_label": False, "container": False} | settings
        return gr.Image(label=caption, alt_text=caption, format="png", interactive=False, elem_id=name, **settings)


def _line(name: str) -> gr.Markdown:
    return gr.Markdown(elem_classes="said", elem_id=f"{name}-said")


def _dropped(shown: Shown, name: str, label: str = "Drop a picture here") -> tuple[gr.Image, dict[str, Any]]:
    """Where a visitor drops a picture: its file is taken as it is, and read by this zoo alone.

    With it the events at which there is another picture, for `_Part.on`: not its change, which comes twice for a file.
    """
    drop = gr.Image(
        str(shown.examples[0]) if shown.examples else None, label=label, type="filepath", height=300, elem_id=name,
        sources=["upload", "clipboard"], elem_classes="crisp" if shown.is_small else None, buttons=[],
        placeholder=f"Drop a picture here\n- or -\nclick to choose one (up to {MOST_BYTES >> 20} MB)",
    )  # fmt: skip
    taken: list[Any] = []
    if len(shown.examples) > 1:
        examples = gr.Examples(
            [[str(path)] for path in shown.examples], [drop], label="or take one of these", cache_examples=False
        )
        taken.append(examples.load_input_event)
    return drop, {"events": [drop.upload], "after": taken}


def _file(sent: Any) -> Path:
    """The file that a visitor has sent, of what a page says that it is."""
    if sent is None:
        raise ValueError("there is no picture yet: drop one, or choose one below")
    place = sent.get("path") if isinstance(sent, dict) else None
    folder = os.path.realpath(get_upload_folder())
    if not isinstance(place, str) or not Path(os.path.realpath(place)).is_relative_to(folder):
        raise ValueError("the picture is not a file that was sent to this page: drop it again")
    return Path(place)


# Tabs ----------------------------------------------------------------------------------------------------------------


def _draw(part: _Part) -> None:
    """Seeds and a grid; class, truncation, attributes."""
    shown = part.shown
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            seed = _seed(0, "First seed")
            number = gr.Slider(1, MOST_SEEDS, 16, step=1, label="Images")
            looks = _Looks(shown, each=True)
            other = gr.Button("Other seeds", variant="primary")
            one = _picture("One of them", "one", height=300)
            said = _line("one")
        with gr.Column(scale=2, min_width=480):
            grid = _picture("Click an image to see it large", "grid")
    controls = [seed, number, *looks.controls]
    part.on(
        [control.change for control in controls],
        lambda seed, number, *values: shown.grid(seed, number, looks.of(values)), controls, grid, at_once=True,
    )  # fmt: skip
    picked = gr.State(None, time_to_live=KEPT)  # which image of the grid is shown large; None: the first

    def shows(place: tuple[int, int] | None, seed: float, number: float, *values: Any) -> Any:
        picture, words = shown.picked(place, seed, number, looks.of(values))
        return picture, escaped(words)

    def pick(event: gr.SelectData, seed: float, number: float, *values: Any) -> Any:
        x, y = event.index
        place = shown.at(x, y, number, looks.of(values))
        return (gr.skip(),) * 3 if place is None else (*shows(place, seed, number, *values), place)

    part.on([grid.select], pick, controls, [one, said, picked])
    part.on([control.change for control in controls], shows, [picked, *controls], [one, said], at_once=True)
    other.click(lambda: random.randrange(10**6), None, seed, show_progress="hidden", api_visibility="private")


def _walk(part: _Part) -> None:
    """From one latent to another."""
    shown = part.shown
    with gr.Row():
        first, second = _seed(0, "From seed"), _seed(1, "to seed")
        looks = _Looks(shown, own="each seed its own" if isinstance(shown.model, Styles) else "the first seed's")
        other = gr.Button("Other seeds", variant="primary")
    way = gr.Slider(0, 1, 0.5, step=0.01, label="The way", elem_id="way")
    picture = _picture("At this place", "walk")
    strip = _picture("The whole way", "strip", buttons=[])
    controls = [first, second, *looks.controls]
    part.on(
        [control.change for control in (way, *controls)],
        lambda way, a, b, *values: shown.walk(a, b, way, looks.of(values)), [way, *controls], picture, at_once=True,
    )  # fmt: skip
    part.on(
        [control.change for control in controls],
        lambda a, b, *values: shown.strip(a, b, looks.of(values)), controls, strip, at_once=True,
    )  # fmt: skip
    seeds = lambda: (random.randrange(10**6), random.randrange(10**6))
    other.click(seeds, None, [first, second], show_progress="hidden", api_visibility="private")


def _mix(part: _Part) -> None:
    """Styles of some layers from one image, of the others from another."""
    shown = part.shown
    with gr.Row():
        rows = gr.Textbox("0-2", label="Seeds on the left", max_lines=1)
        columns = gr.Textbox("3-7", label="Seeds above", max_lines=1)
        choices = ["coarse", "middle", "fine", ("all three, one below the other", "each")]
        layers = gr.Dropdown(choices, value="middle", label="Layers that are lent", elem_id="layers")
        looks = _Looks(shown)
    picture = _picture("Each image on the left, with styles of the one above", "mix")
    events = [rows.submit, rows.blur, columns.submit, columns.blur, *(c.change for c in (layers, *looks.controls))]
    part.on(
        events, lambda rows, columns, layers, *values: shown.mixture(rows, columns, layers, looks.of(values)),
        [rows, columns, layers, *looks.controls], picture, at_once=True,
    )  # fmt: skip


def _strengths(shown: Shown, name: str, first: float = 0.0) -> tuple[list[Any], Any]:
    """A slider for each direction, the first at `first`, with a button that sets all to 0, and the layers that move."""
    named = shown.directions().names
    title = lambda name: f"Direction {int(name) + 1}" if name.isdecimal() else name
    sliders = [
        gr.Slider(-STRENGTH, STRENGTH, 0 if k else first, step=0.1, label=title(direction), elem_id=f"{name}-{k}")
        for k, direction in enumerate(named)
    ]
    layers = gr.Dropdown(["all", "coarse", "middle", "fine"], value="all", label="Layers that are moved")
    back = gr.Button("Set all to 0")
    back.click(lambda: [0] * len(sliders), None, sliders, show_progress="hidden", api_visibility="private")
    return sliders, layers


def _directions(part: _Part) -> None:
    """Sliders along directions in W."""
    shown = part.shown
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            seed = _seed(0, "Seed")
            looks = _Looks(shown)
            sliders, layers = _strengths(shown, "direction", 2.0)
        with gr.Column(scale=2, min_width=480):
            picture = _picture("In standard deviations along each direction", "moved")
    controls = [seed, layers, *sliders, *looks.controls]
    count = len(sliders)
    part.on(
        [control.change for control in controls],
        lambda seed, layers, *values: shown.moved(seed, values[:count], layers, looks.of(values[count:])),
        controls, picture, at_once=True,
    )  # fmt: skip


def _photograph(part: _Part) -> None:
    """Inversion and editing of a visitor's photograph."""
    shown = part.shown
    state = gr.State(None, time_to_live=KEPT)
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            drop, _ = _dropped(shown, "photograph", "Your photograph")
            where = gr.Radio(
                [("its centre", "centre"), ("the face in it", "face")], value="centre", label="What is edited"
            )
            least = 0 if shown.encoder else 10
            steps = gr.Slider(least, MOST_STEPS, NEAR if shown.encoder else STEPS, step=10, label="Steps of the search")
            of_class = _class(shown, "not known") if shown.classes else None
            plus = gr.Checkbox(False, label="A style for each layer: nearer, less good to edit")
            find = gr.Button("Find its styles", variant="primary", elem_id="find")
            sliders, layers = _strengths(shown, "edit")
        with gr.Column(scale=2, min_width=480):
            found = _picture("Yours, and what the model makes of it", "found")
            said = _line("found")
            edited = _picture("Moved along the directions", "edited")
            pasted = _picture("In its place in the photograph", "pasted", visible=False)

    def with_edit(result: Found, layers: str, strengths: Sequence[float]) -> tuple[Any, ...]:
        picture, photograph = shown.retouched(result, strengths, layers)
        return picture, photograph, gr.Column(visible=photograph is not None)

    def search(
        file: Any,
        where: Any,
        steps: float,
        plus: bool,
        label: int = OWN,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> Any:
        track = lambda numbers: progress.tqdm(numbers, desc="searching")
        result, picture, words = shown.found(_file(file), part=where, steps=steps, plus=plus, label=label, track=track)
        nothing = [0.0] * len(shown.directions().names)
        return (result, picture, words, *with_edit(result, "all", nothing), *nothing)

    def edit(result: Found | None, layers: str, *values: float) -> Any:
        return (gr.skip(),) * 3 if result is None else with_edit(result, layers, values)

    shows = [edited, pasted, pasted.parent]
    part.on(
        [find.click],
        search,
        [drop, where, steps, plus, *([of_class] if of_class else [])],
        [state, found, said, *shows, *sliders],
        long="search",
        raw=True,
    )
    part.on([c.change for c in (layers, *sliders)], edit, [state, layers, *sliders], shows)


def _translate(part: _Part) -> None:
    """A visitor's picture, translated both ways."""
    shown = part.shown
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            drop, another = _dropped(shown, "source")
            gr.Markdown(f"Larger pictures are made smaller, to {LARGEST} pixels.", elem_classes="said")
        shows: list[Any] = []
        with gr.Column(scale=2, min_width=480):
            for direction in shown.model.directions:
                name = direction.replace("->", "to")
                arrow = direction.replace("->", " → ")
                both = direction[::-1].replace(">-", "->") in shown.model.directions
                with gr.Row():
                    there = _picture(
                        f"{arrow}: what is dropped, taken for {direction[0]}" if both else "Translated", name
                    )
                    back = _picture(f"and back: {arrow} → {direction[0]}", f"{name}-back", visible=both)
                shows += [there, back, _line(name)]

    def run(file: Any) -> Any:
        of_each = [shown.translated(_file(file), direction) for direction in shown.model.directions]
        return [value for values in of_each for value in values]

    part.on(function=_unless_empty(run, len(shows)), inputs=[drop], outputs=shows, **another, **CONVERTS)


def _enlarge(part: _Part) -> None:
    """A visitor's picture, enlarged, beside plain interpolation."""
    shown = part.shown
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            drop, another = _dropped(shown, "source")
            gr.Markdown(
                f"Of larger pictures the middle {PART}x{PART} pixels are enlarged. Left of the handle: interpolation "
                "(bicubic); right of it: the model.", elem_classes="said",
            )  # fmt: skip
        with gr.Column(scale=2, min_width=480):
            slider = gr.ImageSlider(
                label=f"{shown.model.scale} times as large: drag the handle", format="png", interactive=False,
                elem_id="enlarged", max_height=700, buttons=["download", "fullscreen"],
            )  # fmt: skip
            said = _line("enlarged")

    def run(file: Any, progress: Any = gr.Progress()) -> Any:  # noqa: B008
        if file is None:
            return gr.skip(), gr.skip()
        return shown.enlarged(_file(file), lambda numbers: progress.tqdm(numbers, desc="enlarging"))

    part.on(function=run, inputs=[drop], outputs=[slider, said], **another, **CONVERTS)


def _score(part: _Part) -> None:
    """How unusual a visitor's picture is, and where."""
    shown = part.shown
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            drop, another = _dropped(shown, "source")
        with gr.Column(scale=2, min_width=480):
            said = _line("score")
            with gr.Row():
                seen, heat = (
                    _picture("As the model sees it", "seen"),
                    _picture("Unusual where it is bright", "heat"),
                )
    run = lambda file: shown.scored(_file(file))
    part.on(function=_unless_empty(run, 3), inputs=[drop], outputs=[seen, heat, said], **another, **CONVERTS)


def _unless_empty(function: Callable[[str], Any], outputs: int) -> Callable[..., Any]:
    """The same, which leaves everything as it is where there is no picture: one has been taken away."""
    return lambda file: tuple(gr.skip() for _ in range(outputs)) if file is None else function(file)


TABS: tuple[tuple[Any, str, Callable[[_Part], None]], ...] = (
    (Translates, "Translate", _translate),
    (Upscales, "Enlarge", _enlarge),
    (Scores, "How unusual", _score),
    (FromLatents, "Draw", _draw),
    (FromLatents, "Walk", _walk),
    (Styles, "Mix styles", _mix),
    (Styles, "Directions", _directions),
    (Styles, "Your photograph", _photograph),
)
