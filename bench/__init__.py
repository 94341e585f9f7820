"""Measurements of the running product: `bin/bench` prints them. Nothing here passes or fails."""
