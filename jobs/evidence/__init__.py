"""Evidence that jobs observe for tickets."""
