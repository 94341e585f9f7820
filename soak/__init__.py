"""Runs a real installation under load while its processes are killed and its parts broken, see `bin/soak`."""
