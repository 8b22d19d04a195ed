"""A page as a browser's parser sees it: its elements, what it would fetch, its pictures, its numbers."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from PIL import Image

VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """A file that is to be a page for a browser."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}  # by the element that it stands in
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.setdefault(self._open[-1] if self._open else "", []).append(data)

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [found for name, found in self.elements if name == tag and wanted.items() <= found.items()]

    @property
    def words(self) -> str:
        """All that a person reads."""
        return " ".join(part for tag, parts in self.text.items() if tag not in ("script", "style") for part in parts)

    @property
    def data(self) -> dict[str, Any]:
        """The numbers of the page."""
        return json.loads(self.text["script"][0])

    def pictures(self) -> list[Image.Image]:
        """Every picture of it, decoded."""
        found = []
        for picture in self.all("img"):
            assert picture["alt"]
            kind, _, content = (picture["src"] or "").partition(";base64,")
            assert kind.startswith("data:image/"), picture["src"]
            with Image.open(io.BytesIO(base64.b64decode(content, validate=True))) as image:
                image.load()
                assert (str(image.width), str(image.height)) == (picture["width"], picture["height"])
                found.append(image.convert("RGB"))
        return found

    def check(self) -> None:
        """Nothing of it comes from elsewhere, and nothing runs but the one script whose digest its policy names."""
        for tag, attributes in self.elements:
            assert tag not in ("iframe", "object", "embed", "form", "base", "audio", "video"), tag
            for name, value in attributes.items():
                assert not name.startswith("on"), (tag, name)
                assert name != "style", "the policy would refuse it"
                if name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
                    assert re.match(r"data:image/|data:,|\./", value or ""), (tag, name, value)
        assert [script.get("type") for script in self.all("script")] == ["application/json", None]
        assert not re.search(r"url\(|@import", "".join(self.text["style"]))
        (policy,) = (m["content"] or "" for m in self.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        assert rules["default-src"] == "'none'"
        assert rules["img-src"] == "data:"
        digest = lambda words: f"'sha256-{base64.b64encode(hashlib.sha256(words.encode()).digest()).decode()}'"
        assert rules["script-src"] == digest(self.text["script"][1])
        assert rules["style-src"] == digest("".join(self.text["style"]))
        assert self.text["title"]
