"""The control loops: what they look for on the board, and what they file or propose."""
