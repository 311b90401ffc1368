"""Answer one question about the project: run the function ``answer`` of a module of this folder, and end.

No connection is opened by it, and no message is taken.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Sequence
from typing import Any

from .project_setup import failure


def main(pipe: Any, arguments: Sequence[str]) -> int:
    """Write the answer, or why there is none."""
    name, *rest = arguments
    try:
        answer = importlib.import_module(f".{name}", __package__).answer(rest)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - any reason why the project can't be asked is the answer
        traceback.print_exc()
        pipe.write(failure(error))
        return 1
    pipe.write({"answer": answer})
    return 0
