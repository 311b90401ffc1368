"""Run git and the project's manage.py for a bounded time; an error has their last lines, without secrets."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from migrator.errors import MigratorError, RefusedError, UnreachableError
from migrator.plan.model import Plan
from migrator.plan.placeholders import fill
from migrator.project.manage_server import ManageServer
from migrator.redaction import redact

GIT_TIMEOUT_S = 60.0
#: Of django-configurations: the class whose attributes are the settings.
CONFIGURATION = "DJANGO_CONFIGURATION"
_CONFIGURED = re.compile(rf"{CONFIGURATION}[\"']\s*,\s*[\"'](\w+)[\"']")
MANAGE_TIMEOUT_S = 300.0
SCRIPT_TIMEOUT_S = 60.0
AGENT = Path(__file__).parents[1] / "agent"


def manage(plan: Plan, *arguments: str, environ: Mapping[str, str], manage_server: ManageServer | None = None) -> str:
    """Run ``manage.py`` in the project, with the plan's settings, and return its output.

    Args:
        manage_server: Runs it faster, as long as it lives.

    Raises:
        UnreachableError: It failed; most often the database is down or the settings can't be imported.
    """
    where = f"manage.py {' '.join(arguments)}"
    answer = manage_server.call(arguments, limit_s=MANAGE_TIMEOUT_S) if manage_server is not None else None
    if answer is None:
        command = [fill(plan, part, environ=environ, where="project.manage") for part in plan.project.manage]
        answer = run(
            [*command, *arguments],
            folder=plan.source_root,
            environ=with_settings(plan, environ),
            limit_s=MANAGE_TIMEOUT_S,
        )
    code, output, errors = answer
    if code != 0:
        raise UnreachableError(
            where,
            "failed",
            found=last_lines(errors or output),
            remedy=f"run it in {plan.source_root} to see the whole output",
        )
    return output


def with_settings(plan: Plan, environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Django uses the plan's settings, whatever the caller's shell exports."""
    return {**with_configuration(plan, environ), "DJANGO_SETTINGS_MODULE": plan.project.settings}


def with_configuration(plan: Plan, environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment that names the class of django-configurations that ``manage.py`` takes, if it does."""
    file = plan.source_root / "manage.py"
    if environ.get(CONFIGURATION) or not file.is_file():
        return dict(environ)
    found = _CONFIGURED.search(file.read_text(encoding="utf-8", errors="replace"))
    return {**environ, CONFIGURATION: found[1]} if found else dict(environ)


def ask_script(
    plan: Plan, script: str, *arguments: str, folder: Path, environ: Mapping[str, str]
) -> tuple[int, str, str]:
    """Run a script of the agent in the project's interpreter and return exit status, its last line and errors.

    Args:
        plan: The plan.
        script: Name of the script in ``migrator/agent``.
        arguments: Of the script.
        folder: Where the project is imported from.
        environ: Of the process; the class of django-configurations is added.

    Raises:
        MigratorError: It can't be executed, or takes longer than a minute.
    """
    python = fill(plan, "{python}", environ=environ, where=script)
    command = [python, str(AGENT / f"{script}.py"), *arguments]
    own = with_configuration(plan, environ)
    code, output, errors = run(command, folder=folder, environ=own, limit_s=SCRIPT_TIMEOUT_S)
    return code, (output.strip().splitlines() or [""])[-1], errors or output


def git(plan: Plan, *arguments: str, environ: Mapping[str, str]) -> str:
    """Run git in the plan's folder and return its output, stripped.

    Raises:
        RefusedError: Git refused.
    """
    code, output, errors = run(["git", *arguments], folder=plan.folder, environ=environ, limit_s=GIT_TIMEOUT_S)
    if code != 0:
        raise RefusedError(
            f"git {' '.join(arguments[:2])}", "failed", found=last_lines(errors or output), remedy="correct it with git"
        )
    return output.strip()


def run(command: Sequence[str], *, folder: Path, environ: Mapping[str, str], limit_s: float) -> tuple[int, str, str]:
    """Run a command to its end and return exit status, output and errors.

    Raises:
        MigratorError: It can't be executed, or takes longer than ``limit_s`` seconds.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
        )
    except FileNotFoundError as error:
        raise MigratorError(command[0], "can't be executed", found=str(error), remedy="install it") from error
    except subprocess.TimeoutExpired as error:
        raise UnreachableError(
            " ".join(command[:4]), f"has not ended after {limit_s:g} s", remedy="run it by hand to see why"
        ) from error
    return done.returncode, done.stdout, done.stderr


def last_lines(text: str, count: int = 2) -> str:
    """Return the last lines of an output, without secrets, on one line."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return redact(" | ".join(lines[-count:]))
