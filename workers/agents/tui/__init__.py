"""An agent's own screen in a tmux window, for people who want to use the program itself (`mode = tui`).

The wrapper runs `workers.agents.tui.driver` in place of the agent, with the line protocol of the script agent. The
driver opens a second window in the run's tmux session and starts the program there under
`workers.agents.tui.screen_process`. It reads the program's hooks (`workers.agents.tui.hook`), transcript and state,
and types only into a screen that is idle.
"""
