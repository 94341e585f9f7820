"""The schedule: tasks and their files, the ledger of their slots, and inbound hooks."""
