"""What surrounds training: configuration, callbacks, loggers, checkpoints."""
