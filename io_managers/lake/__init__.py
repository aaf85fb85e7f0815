"""What the rooms of open table formats share: version files, fences beside the tables, settling.

A version is one immutable Parquet file in the table's own folder. Publishing it is a commit of the
table's log and moves no rows; reading it by its receipt needs no log at all.
"""
