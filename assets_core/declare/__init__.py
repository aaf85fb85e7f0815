"""What users write, as values: assets, sources, groups, policies; and loading it."""
