"""What is stale, and why: columns of facts in, a plan out. Pure, but for plans in files."""
