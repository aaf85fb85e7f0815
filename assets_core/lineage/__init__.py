"""Pure readings of the graph and the recorded facts: lineage, freshness, status, history, displays.

Nothing here opens a store or looks at a clock; what a reading needs is handed to it.
"""
