"""Language models as an embedding, blocks with caches of keys and values, and a head: whole, and in runs of blocks."""
