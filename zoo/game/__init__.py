"""The game as the base of every variant: what is of no paper."""
