"""Photographs the pages of `zoo demo` into a folder, such as docs: python scripts/screenshots.py docs

It runs the tests of the page in the browser (tests/test_demo_browser.py), which keep a picture of each page on the way.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> int:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        print("screenshots.py: give the folder for the pictures: python scripts/screenshots.py docs", file=sys.stderr)
        return 2
    environment = os.environ | {"SCREENSHOTS": str(Path(sys.argv[1]).resolve())}
    tests = [sys.executable, "-m", "pytest", "-n", "0", "-m", "slow", "tests/test_demo_browser.py"]
    return subprocess.run(tests, cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
