"""Health: the look at this host and the store, and the canary."""
