"""Messages, requests, attachments and context of a ticket."""
