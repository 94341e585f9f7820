"""Health, incidents, scheduled tasks, retention and tokens."""
