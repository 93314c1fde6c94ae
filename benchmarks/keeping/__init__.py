"""The parts of keep.py: worlds, the pool, training, arms, measures and pictures."""
