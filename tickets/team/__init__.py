"""Agents, people, profiles and projects."""
