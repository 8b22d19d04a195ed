"""python -m zoo: the `zoo` command, where its script is not on the PATH."""

from zoo.cli import main

if __name__ == "__main__":
    main()
