"""Exit codes that do not come from an error."""

from __future__ import annotations

STOPPED = 130
"""The exit code after Ctrl-C, or after "no" to a question."""

READER_LEFT = 141
"""The exit code when nobody reads the output any more, as that of a program killed by SIGPIPE."""
