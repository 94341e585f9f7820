"""Measurements of the running product, printed by `bin/bench`. They neither pass nor fail."""
