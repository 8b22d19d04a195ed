"""Weights that leave a run: a folder of plain data, what it is called, and the hub that holds more."""
