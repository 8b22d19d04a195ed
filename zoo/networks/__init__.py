"""Networks that two papers share."""
