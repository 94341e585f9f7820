"""Runs: claims, reports, events of wrappers, retries, prompts and sessions."""
