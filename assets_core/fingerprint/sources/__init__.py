"""Source files: found in ``files``, taken apart in ``source``, kept on disk as ``rows``."""
