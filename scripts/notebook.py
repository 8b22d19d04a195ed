"""Executes docs/gan_in_ten_minutes.ipynb, and keeps what its cells show.

    python scripts/notebook.py            # after a change of a cell: execute all, in order, and write the file again

The kept outputs are of the kept cells: the file's metadata have a digest of the cells that made them, which a test
compares. It needs nbclient and ipykernel, of the group dev.
"""

import base64
import hashlib
import io
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs" / "gan_in_ten_minutes.ipynb"


def digest(notebook: dict[str, Any]) -> str:
    """Of the code of all cells."""
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()


def executed(notebook: Any, folder: Path) -> Any:
    """The notebook with what its cells show, run in a folder; an error of a cell is raised."""
    from nbclient import NotebookClient

    NotebookClient(
        notebook, timeout=1_200, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when each cell ran
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output["data"]["image/png"] = smaller(output["data"]["image/png"])
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "digest": digest(notebook),
    }
    return notebook


def smaller(png: str) -> str:
    """The same picture of 32 colours, in base64."""
    file = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(32).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def main() -> None:
    import nbformat

    with tempfile.TemporaryDirectory() as folder:
        notebook = executed(nbformat.read(NOTEBOOK, as_version=4), Path(folder))
    nbformat.write(notebook, NOTEBOOK)
    print(f"written: {NOTEBOOK.name}, {NOTEBOOK.stat().st_size // 1024} kB")


if __name__ == "__main__":
    main()
