"""Git: workspaces, checks, changes and landing."""
