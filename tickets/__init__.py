"""What is true of tickets: pure domain over a Session; no web, no processes, no environment, no commit."""
