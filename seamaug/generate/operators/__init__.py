"""Embedded operators: rule-based prompt rewrites that keep the label by construction."""

# Importing a module registers its operators; this order is the documented order.
# ruff: isort: off
from seamaug.generate.operators import tone, surface, spelling, structure, context
from seamaug.generate.operators.base import OPERATORS, Operator, at_random, compose

__all__ = [
    "OPERATORS", "Operator", "at_random", "compose", "context", "spelling", "structure", "surface",
    "tone",
]  # fmt: skip
