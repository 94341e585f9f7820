"""Old places of programs that a run of the version before may still start; to be removed with the next version."""
