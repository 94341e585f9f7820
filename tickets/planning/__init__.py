"""Planning and display of the phases of a ticket."""
