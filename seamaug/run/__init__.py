"""The run folder and the progress of a run."""
