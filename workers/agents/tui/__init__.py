"""An agent's own screen in a tmux window, for those who want to see and touch the real thing (`mode = tui`).

The wrapper runs `workers.agents.tui.driver` in place of the agent; it speaks the lines of the script agent. The driver opens
a second window in the run's tmux session and starts the program there below `workers.agents.tui.screen_process`. It learns what
happens from the program's hooks (`workers.agents.tui.hook`), its transcript and what it tells of its state, and types only
into a screen that is known to be idle.
"""
