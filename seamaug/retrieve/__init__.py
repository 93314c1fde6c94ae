"""Semantic neighbours of a prompt."""
