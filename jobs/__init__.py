"""What the timer-driven programs share: observing, reconciling, starting runs, and recording what came of it."""
