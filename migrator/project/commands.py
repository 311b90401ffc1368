"""Run git and the project's code for a bounded time; an error has the last lines of the output, without secrets."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from migrator.errors import MigratorError, RefusedError, UnreachableError
from migrator.plan.interpreter import project_python
from migrator.plan.model import Plan
from migrator.plan.placeholders import fill_words
from migrator.project.agent_process import setup_error, start_agent, unusable
from migrator.project.manage_server import ManageServer
from migrator.redaction import redact

GIT_TIMEOUT_S = 60.0
#: Of django-configurations: the class whose attributes are the settings.
CONFIGURATION = "DJANGO_CONFIGURATION"
_CONFIGURED = re.compile(rf"{CONFIGURATION}[\"']\s*,\s*[\"'](\w+)[\"']")
MANAGE_TIMEOUT_S = 300.0
ANSWER_TIMEOUT_S = 60.0
#: The last line of Python for a package that isn't there.
_MISSING = re.compile(r"^ModuleNotFoundError: No module named '(?P<package>\w+)[.\w]*'\s*\Z", re.MULTILINE)


class ProjectCodeError(RefusedError):
    """A module of the project can't be imported, in an interpreter that can run the project."""


def manage(plan: Plan, *arguments: str, environ: Mapping[str, str], manage_server: ManageServer | None = None) -> str:
    """Run ``manage.py`` in the project, with the plan's settings, and return its output.

    Args:
        manage_server: Runs it faster, as long as it lives.

    Raises:
        UnreachableError: It failed; most often the database is down or the settings can't be imported.
    """
    where = f"manage.py {' '.join(word for word in arguments if len(word.splitlines()) == 1)}"
    answer = manage_server.call(arguments, limit_s=MANAGE_TIMEOUT_S) if manage_server is not None else None
    code, output, errors = answer or run_manage(plan, *arguments, environ=environ)
    if code != 0:
        raise UnreachableError(
            where,
            "failed",
            found=last_lines(errors or output),
            remedy=f"run it in {plan.source_root} to see the whole output",
        )
    return output


def run_manage(plan: Plan, *arguments: str, environ: Mapping[str, str]) -> tuple[int, str, str]:
    """Run ``manage.py`` in a process of its own and return exit status, output and errors.

    Raises:
        UnreachableError: It can't be executed, or the project's interpreter lacks a package of the project.
    """
    command = fill_words(plan, plan.project.manage, environ=environ, where="project.manage")
    own = with_settings(plan, environ)
    try:
        answer = run([*command, *arguments], folder=plan.source_root, environ=own, limit_s=MANAGE_TIMEOUT_S)
    except MigratorError as error:
        if isinstance(error, UnreachableError):
            raise
        raise unusable(project_python(plan, environ), "can't be executed", error.found) from error
    missing = _MISSING.search(answer[2]) if answer[0] else None
    if missing is not None:
        found = {"broken": missing[0], "missing": missing["package"]}
        if failed := setup_error(project_python(plan, environ), found, project_modules(plan)):
            raise failed
    return answer


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


def ask_agent(plan: Plan, question: str, *arguments: str, folder: Path, environ: Mapping[str, str]) -> Any:
    """Ask the project's code a question, in its own interpreter, and return the answer.

    Args:
        plan: The plan.
        question: Name of a module of ``migrator/agent`` with a function ``answer``.
        arguments: Of that function.
        folder: Where the project is imported from.
        environ: Of the process; the class of django-configurations is added.

    Raises:
        UnreachableError: The interpreter can't run the agent or the project, or takes longer than a minute.
        ProjectCodeError: A module that the question is about can't be imported.
    """
    python, own = project_python(plan, environ), with_configuration(plan, environ)
    with NamedTemporaryFile(prefix="agent-", suffix=".log") as log:
        file = Path(log.name)
        agent = start_agent(python, "ask", (question, *arguments), folder=folder, environment=own, log_file=file)
        try:
            agent.greet()
            answer = agent.receive(ANSWER_TIMEOUT_S)
            if failed := setup_error(python, answer, project_modules(plan)):
                raise failed
            if answer.get("gone"):
                found = f"{answer['broken']}: {agent.last_line()}"
                raise UnreachableError(f"the project's interpreter ({python})", "gave no answer", found=found)
        finally:
            agent.stop()
    if "broken" in answer:
        remedy = f"import it in {folder} by hand to see why"
        raise ProjectCodeError(str(folder), "can't be imported", found=redact(answer["broken"]), remedy=remedy)
    return answer["answer"]


def project_modules(plan: Plan) -> tuple[str, ...]:
    """Return the dotted names of modules of the project that the plan has."""
    modules = [module for endpoint in (*plan.legacy, plan.unified) for module in endpoint.modules]
    return (plan.project.settings, *modules, *(task.path for task in plan.tasks), *(m.path for m in plan.mappings()))


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
