"""Base of the domain: actors, errors, lookup, the event log, paging and request shapes."""
