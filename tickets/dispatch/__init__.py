"""Policy gates, budgets and the order in which tickets are claimed."""
