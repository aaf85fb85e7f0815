"""Work over many partitions that outlives the process that does it."""
