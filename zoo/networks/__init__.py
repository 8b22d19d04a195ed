"""Networks and their parts, where two papers share them or one changes another's: torch alone."""
