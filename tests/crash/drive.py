"""One command in a process of its own: ``drive.py ROOT STORE DAYS OPTIONS`` materializes.

Prints the result as one line of JSON; OPTIONS is JSON for `Project.materialize`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

import shop

from assets_core.errors import AssetsError
from assets_core.project import Project


def main() -> int:
    root, store, days, options = sys.argv[1:]
    if limit := os.environ.get("DRIVE_FILE_BYTES"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    project = Project(shop.make(Path(root), store, int(days)), root=root)
    try:
        result = project.materialize(**json.loads(options))
    except AssetsError as error:
        print(json.dumps({"error": type(error).__name__, "details": str(error)}))
        return error.exit_code
    except KeyboardInterrupt:
        os._exit(130)
    told = {**result.to_dict(), "recovered": [str(one) for one in result.recovered]}
    print(json.dumps(told), flush=True)
    if result.exit_code == 130:
        # As the command does: a stopped run may leave a step's thread in a long call.
        os._exit(130)
    project.close()
    return result.exit_code


if __name__ == "__main__":
    sys.exit(main())
