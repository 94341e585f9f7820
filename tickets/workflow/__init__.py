"""Phases, evidence, landing plans, wake conditions and relationships of a ticket."""
