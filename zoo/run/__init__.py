"""What surrounds training: configuration, callbacks, loggers, checkpoints."""

from pathlib import Path

# Inside the package where that was installed from a wheel, beside it in a clone.
CONF = next(conf for n in (1, 2) if (conf := Path(__file__).parents[n] / "conf").is_dir() or n == 2)
