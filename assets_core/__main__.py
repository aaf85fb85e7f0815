"""``python -m assets_core`` is the ``assets`` command."""

from __future__ import annotations

from assets_core.cli import main

if __name__ == "__main__":
    main()
