"""Seeds: rows from files, datasets or Python objects, as one table of `Seed` records."""

from seamaug.seeds.table import Seeds, SeedSource, each_seed, located_rows, read_seeds

__all__ = ["SeedSource", "Seeds", "each_seed", "located_rows", "read_seeds"]
