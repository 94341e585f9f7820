"""The machine: tmux, processes, files and commands."""
