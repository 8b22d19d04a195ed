"""What pages quote of files: code, YAML and headers, cut out of the files themselves.

    python scripts/pages.py            # write each quotation again

In README.md and docs/**/*.md stands between `<!-- from: FILE PART -->` and `<!-- /from -->`

    zoo/model/dcgan.py DCGAN.training_step     a class, method or function
    zoo/game/losses.py OBJECTIVES["hinge"]     an entry of a dictionary
    zoo/model/dcgan.py Faithful, Departs       paragraphs of the file's header, by their first words
    conf/model/dcgan.yaml                      the file as it is

A test holds that all of them are what the files have.
"""

import ast
import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from zoo.atomic import replacing  # noqa: E402

REGION = re.compile(r"^(<!-- from: (\S+)(?: ([^\n]+))? -->\n)(.*?)^(<!-- /from -->)$", re.DOTALL | re.MULTILINE)


def pages() -> list[Path]:
    """README.md and every page below docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def rendered(page: str) -> str:
    """A page with the quotations that its marks ask for."""
    return REGION.sub(lambda found: found[1] + quoted(found[2], found[3]) + found[5], page)


def quoted(file: str, part: str | None) -> str:
    """A part of a file as Markdown.

    Raises:
        ValueError: the file or its part is not there.
    """
    if not (ROOT / file).is_file():
        raise ValueError(f"<!-- from: {file} -->: there is no such file")
    source = (ROOT / file).read_text(encoding="utf-8")
    if part is None:
        return f"```{(ROOT / file).suffix[1:]}\n{source.strip()}\n```\n"
    if re.fullmatch(r"[A-Z]\w+(?:, [A-Z]\w+)*", part) and f"\n{part.split(', ')[0]}:" in source:
        return "\n".join(paragraph(source, word, file) for word in part.split(", "))
    node = found(ast.parse(source), part)
    if node is None:
        raise ValueError(f"<!-- from: {file} {part} -->: {file} has no such part")
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
    lines = source.splitlines()[first - 1 : node.end_lineno]
    code = textwrap.dedent("\n".join(lines))
    return f"```python\n{code}\n```\n"


def found(tree: ast.AST, part: str) -> ast.stmt | ast.expr | None:
    """The node that `Class.method` or `TABLE["key"]` names."""
    if table := re.fullmatch(r'(\w+)\["(\w+)"\]', part):
        for node in ast.walk(tree):
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            if any(isinstance(target, ast.Name) and target.id == table[1] for target in targets):
                value = getattr(node, "value", None)
                if isinstance(value, ast.Dict):
                    keys = [key.value if isinstance(key, ast.Constant) else None for key in value.keys]
                    return value.values[keys.index(table[2])] if table[2] in keys else None
        return None
    node: ast.AST | None = tree
    for name in part.split("."):
        body = getattr(node, "body", [])
        node = next((each for each in body if getattr(each, "name", None) == name), None)
    return node if isinstance(node, ast.stmt) else None


def paragraph(source: str, word: str, file: str) -> str:
    """`Word:  text over lines` of a file's header, as a paragraph."""
    header = ast.get_docstring(ast.parse(source)) or ""
    lines = re.search(rf"^{word}:((?:.*\n?)(?:^ .*\n?)*)", header, re.MULTILINE)
    if lines is None:
        raise ValueError(f"<!-- from: {file} -->: its header has no {word}:")
    text = " ".join(lines[1].split())
    parts = re.split(r"(`[^`]*`)", text)
    plain = [part if part.startswith("`") else re.sub(r"([*<_])", r"\\\1", part) for part in parts]
    return textwrap.fill(f"**{word}.** {''.join(plain)}", 120, break_long_words=False, break_on_hyphens=False) + "\n"


def main() -> int:
    for page in pages():
        before = page.read_text(encoding="utf-8")
        try:
            after = rendered(before)
        except ValueError as error:
            print(f"{page.relative_to(ROOT)}: {error}", file=sys.stderr)
            return 1
        if after != before:
            with replacing(page) as part:
                part.write_text(after, encoding="utf-8")
            print(f"written: {page.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
