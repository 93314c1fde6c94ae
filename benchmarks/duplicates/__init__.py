"""The parts of deduplicate.py: a module for each thing that is measured."""
