"""The wrapper of a run and its connection to the server."""
