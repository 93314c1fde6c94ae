"""A run's examples in the dialect of each trainer, with what makes that trainer run on them."""
