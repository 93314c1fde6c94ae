"""Training of robust reward models."""
