"""Jobs around the orchestrator: the drain of its inbox, and the nightly sweep of the board."""
