"""The built-in script agent."""
