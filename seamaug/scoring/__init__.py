"""SEAM: the discrepancy of each prompt between policy and reward model."""
