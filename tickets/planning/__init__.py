"""The workflow box of a ticket: its phases shown and edited."""
