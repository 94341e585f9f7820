"""Access to the host machine: tmux, processes, files and commands."""
