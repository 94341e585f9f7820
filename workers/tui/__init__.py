"""Former paths of programs that a run of the previous version may still start. Remove in the next version."""
