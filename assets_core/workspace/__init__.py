"""What operations are given: definitions, graph, settings, stores, codes, facts and a clock."""
