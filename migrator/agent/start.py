"""Run one module of this folder in the project's interpreter, and talk with the process that started it.

That process runs ``python -c BOOT`` (:mod:`migrator.project.agent_process`) with this file's text as the first thing on
the pipe, so that the interpreter may be on another machine: where the folder isn't there, its other files follow.
The folder is loaded under a name of its own, and neither it nor its siblings are put on ``sys.path``: the project's
packages are found, whatever their names are. The protocol is one line of JSON each way; standard input and output of
the project are others.
Source: https://docs.python.org/3/library/importlib.html#importing-a-source-file-directly
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

#: Version of the protocol; both sides name theirs in the first exchange.
PROTOCOL = 1
#: Name of the package in that interpreter; no project has a package of this name.
NAME = "_migrator_agent"


class ParentPipe:
    """Lines of JSON from and to the process that started this one."""

    def __init__(self, requests: BinaryIO, replies: BinaryIO) -> None:
        self.requests, self.replies = requests, replies

    def read(self) -> Any:
        """Return the next document; None at the end."""
        line = self.requests.readline()
        return json.loads(line) if line else None

    def write(self, document: Mapping[str, Any]) -> None:
        """Write one line, in ASCII whatever the project's locale is."""
        self.replies.write(json.dumps(document, separators=(",", ":"), default=str).encode() + b"\n")
        self.replies.flush()


class SourceFinder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds the modules of the package in texts that came through the pipe."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.sources = sources

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        package, _, module = fullname.rpartition(".")
        return importlib.util.spec_from_loader(fullname, self) if package == NAME and module in self.sources else None

    def is_package(self, fullname: str) -> bool:
        return fullname == NAME

    def get_source(self, fullname: str) -> str:
        return self.sources[fullname.rpartition(".")[2] if fullname != NAME else "__init__"]


def main(hello: Mapping[str, Any]) -> None:
    """Answer the first line of the parent, and run the module that it names; ends the process."""
    # The project gets neither pipe: what it prints goes where its errors go.
    pipe = ParentPipe(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    if hello["protocol"] != PROTOCOL:
        sys.exit(f"this agent speaks protocol {PROTOCOL}, the tool protocol {hello['protocol']}")
    local = os.path.isfile(os.path.join(hello["agent"], "start.py"))  # noqa: PTH113, PTH118 - a string from the pipe
    pipe.write({"protocol": PROTOCOL, "python": sys.version.split()[0], "prefix": sys.prefix, "local": local})
    load(hello["agent"] if local else pipe.read()["sources"])
    # On another machine or in a container the program before the interpreter has chosen the folder.
    if local:
        os.chdir(hello["folder"])
    # As `manage.py` has it.
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as above
    module = importlib.import_module(f"{NAME}.{hello['module']}")
    status = module.main(pipe, hello["arguments"])
    sys.stdout.flush()
    # Threads and exit handlers of the project must not delay the end of this process.
    os._exit(status)


def load(source: str | Mapping[str, str]) -> None:
    """Load the package :data:`NAME` from a folder, or from the texts of its modules."""
    if isinstance(source, str):
        file = os.path.join(source, "__init__.py")  # noqa: PTH118 - as above
        spec = importlib.util.spec_from_file_location(NAME, file, submodule_search_locations=[source])
    else:
        finder = SourceFinder(source)
        sys.meta_path.append(finder)
        spec = importlib.util.spec_from_loader(NAME, finder)
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = package
    spec.loader.exec_module(package)
