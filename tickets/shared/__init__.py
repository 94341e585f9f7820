"""Base of the domain: actors, errors, look-up, the event log, paging and request shapes."""
