"""Operators that an LLM carries out: what they are, what they show, what comes back."""
