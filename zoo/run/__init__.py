"""What surrounds training: configuration, callbacks, loggers, checkpoints."""

from pathlib import Path

CONF = Path(__file__).parents[2] / "conf"
