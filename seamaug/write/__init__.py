"""The datasets, their provenance and their card."""
