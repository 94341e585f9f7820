"""Read models: board, lists, search and the ticket page."""
