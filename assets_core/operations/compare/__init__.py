"""What a change of code makes stale, against a revision or a file: read only, for reviewers."""
