"""The parts of planted_flaws.py: tasks, plan, models, measures and pictures."""
