"""Running a plan: load inputs, call, stage, audit, publish, record; recovery and repair.

What is stale is decided in `planning`; how data is kept is the IO managers'.
"""
