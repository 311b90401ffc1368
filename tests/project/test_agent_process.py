"""An interpreter that does not see the tool's files, as in a container: the agent comes through the pipe."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from environments import OLDEST, environment
from missing import missing
from small_projects import IN_PLACE, IN_PLACE_PLAN, Project, make_project

from migrator.errors import UnreachableError
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.project import agent_process
from migrator.project.commands import ask_agent

#: Hides the agent, and says something of its own, as programs for containers do.
WRAPPER = """\
#!/bin/sh
echo "Defaulted container web out of: web, proxy"
exec unshare --mount --map-root-user sh -c 'mount -t tmpfs none "$0" && cd "$1" && shift && exec "$@"' {words} "$@"
"""


def opened(project: Project, python: str) -> Plan:
    plan = IN_PLACE_PLAN.replace("[legacy.dramatiq]", f"python = {python}\n[legacy.dramatiq]")
    (project.folder / "migration.toml").write_text(plan)
    return load_plan(project.folder / "migration.toml")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project", IN_PLACE)


@pytest.fixture
def elsewhere(project: Project, tmp_path: Path) -> Plan:
    """The project with an interpreter in a mount namespace of its own, where it lies in another folder."""
    inside = make_project(tmp_path / "inside", IN_PLACE).folder
    (inside / "app/settings.py").open("a").write(
        "\nCACHES = {'default': {'BACKEND': 'x.RedisCache', 'LOCATION': 'there'}}\n"
    )
    wrapper = tmp_path / "exec"
    words = (str(Path(agent_process.AGENT)), str(inside), str(environment(OLDEST) / "bin/python"))
    wrapper.write_text(WRAPPER.replace("{words}", shlex.join(words)))
    wrapper.chmod(0o755)
    done = subprocess.run([wrapper, "-c", "1"], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        missing(f"no namespace of mounts can be made here: {done.stderr}")
    return opened(project, f'"{wrapper}"')


def test_its_code_is_sent_to_an_interpreter_that_does_not_see_it(elsewhere: Plan) -> None:
    answer = ask_agent(elsewhere, "versions", folder=elsewhere.source_root, environ=os.environ)
    assert answer["Python"].startswith("3.9.")
    assert answer["Django"].startswith("4.2.")
    words = ("settings_probe", "app.settings")
    found = ask_agent(elsewhere, *words, folder=elsewhere.source_root, environ=os.environ)
    assert found["others"] == {"cache default": "there"}


def test_the_protocol_is_checked(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = opened(project, f'"{environment(OLDEST)}/bin/python"')
    monkeypatch.setattr(agent_process, "PROTOCOL", 2)
    with pytest.raises(UnreachableError, match="speaks protocol 1, the tool protocol 2"):
        ask_agent(plan, "versions", folder=plan.source_root, environ=os.environ)
