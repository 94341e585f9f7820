"""Claude Code as an agent program."""
