"""The scheduled jobs: observe, reconcile and start runs, land, clean up, and record the results."""
