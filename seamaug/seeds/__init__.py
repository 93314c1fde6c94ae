"""Seeds: rows from files, datasets or Python objects, as one table of `Seed` records."""

from seamaug.seeds.table import Seeds, SeedSource, read_seeds

__all__ = ["SeedSource", "Seeds", "read_seeds"]
