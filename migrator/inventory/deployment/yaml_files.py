"""Processes of compose files and Kubernetes manifests.

Source: docs.docker.com/reference/compose-file/services, kubernetes.io/docs/reference/kubernetes-api/workload-resources.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from migrator.inventory.deployment.ini_files import seconds
from migrator.inventory.deployment.line_files import programs
from migrator.inventory.deployment.program import Found, Manager, Program, UnreadProgram, Workload
from migrator.inventory.deployment.settings_texts import from_files
from migrator.inventory.deployment.shell_lines import CommandLine, in_text, in_words

#: A line of a file that can't be read, if it seems to start a worker or a scheduler.
_MENTION = re.compile(
    r"\brundramatiq\b|\bcelery\b.*\b(?:worker|beat)\b|\b(?:dramatiq|periodiq)\s+[\w.-]|[\"']dramatiq[\"']\s*,"
)
_STRICT = re.compile(r"\$\{(\w+):?\?[^}]*\}")
_SHORT = re.compile(r"\$(\w+)")


def manifests(file: Path, text: str) -> Iterator[Found]:
    """Yield the processes of a file that may be for compose or for Kubernetes."""
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            content = loader.construct_document(node) if node is not None else None
            if isinstance(content, dict) and isinstance(content.get("services"), dict):
                yield from _compose(file, content["services"], node)
            elif isinstance(content, dict) and "kind" in content and "apiVersion" in content:
                yield from _kubernetes(file, content, node)
            else:
                yield from mentions(file, text)
                return
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        yield from mentions(file, text, f"the file can't be read: {getattr(error, 'problem', None) or error}{where}")
    finally:
        loader.dispose()


def mentions(file: Path, text: str, why: str = "files of this kind are not read") -> Iterator[UnreadProgram]:
    """Yield the lines that seem to start a worker, of a file that is not read."""
    for number, line in enumerate(text.splitlines(), 1):
        if _MENTION.search(line.partition("#")[0]):
            yield UnreadProgram(name="", file=file, line=number, why=why)


def _compose(file: Path, services: Mapping[str, Any], node: yaml.Node) -> Iterator[Found]:
    for name, given in services.items():
        service = _extended(services, given)
        number = _line(node, "services", name, "command") or _line(node, "services", name) or 1
        lines = _started(service.get("entrypoint"), service.get("command"))
        environment = {
            **from_files(file.parent, _env_files(service.get("env_file"))),
            **_environment(service.get("environment")),
        }
        for found in programs(lines, Manager.COMPOSE, str(name), file, number):
            yield _container(found, service, "working_dir", str(service.get("stop_grace_period", "10s")), environment)


def _container(
    found: Found, given: Mapping[str, Any], folder: str, grace: str, environment: Mapping[str, str]
) -> Found:
    """Return a process with what the file says about its container."""
    if not isinstance(found, Program):
        return found
    return replace(
        found,
        stop_timeout_s=seconds(grace),
        environment={**environment, **found.environment},
        directory=found.directory or str(given.get(folder) or ""),
    )


def _extended(services: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """Return a service with what it takes from another of the same file."""
    service = dict(given) if isinstance(given, dict) else {}
    other = service.get("extends")
    name = other.get("service") if isinstance(other, dict) and "file" not in other else other
    if isinstance(name, str) and isinstance(services.get(name), dict) and services[name] is not given:
        return {**services[name], **service}
    return service


def _started(entrypoint: Any, command: Any) -> Iterator[CommandLine]:
    """Yield what a container starts: its entrypoint with the command behind it."""
    parts = [part for part in (entrypoint, command) if part]
    if any(isinstance(part, list) for part in parts) or len(parts) == 2:
        words: list[str] = []
        for part in parts:
            words += [str(word) for word in part] if isinstance(part, list) else str(part).split()
        return in_words([_plain(word) for word in words])
    return in_text(_plain(str(parts[0]))) if parts else iter(())


def _plain(text: str) -> str:
    """Return a text of a compose file with its references as the plan writes them."""
    text = _STRICT.sub(r"${\1}", text.replace("$$", "\x00"))
    return _SHORT.sub(r"${\1}", text).replace("\x00", "$")


def _environment(given: Any) -> dict[str, str]:
    """Return an environment given as a mapping or as a list; what it only passes on is left out."""
    if isinstance(given, list):
        given = dict(str(item).split("=", 1) for item in given if "=" in str(item))
    items = given.items() if isinstance(given, dict) else ()
    return {str(key): _plain(_text(value)) for key, value in items if value is not None}


def _env_files(given: Any) -> list[str]:
    """Return the files of variables of a service: one, several, or with keys of their own."""
    every = given if isinstance(given, list) else [given]
    return [str(item.get("path") if isinstance(item, dict) else item) for item in every if item]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _kubernetes(file: Path, content: Mapping[str, Any], node: yaml.Node) -> Iterator[Found]:
    """Yield the containers of a Deployment, a StatefulSet, a CronJob: of any resource with a pod in it."""
    metadata = content.get("metadata")
    name = str(metadata.get("name", "")) if isinstance(metadata, dict) else ""
    for path, pod in _pods(content, ()):
        grace = str(pod.get("terminationGracePeriodSeconds", "30"))
        for index, container in enumerate(pod["containers"]):
            if not isinstance(container, dict):
                continue
            own = f"{name}-{container['name']}" if len(pod["containers"]) > 1 and "name" in container else name
            place = (*path, "containers", index)
            number = _line(node, *place, "command") or _line(node, *place, "args") or _line(node, *place) or 1
            lines = in_words([str(word) for key in ("command", "args") for word in container.get(key) or ()])
            environment = {
                str(item["name"]): _text(item["value"])
                for item in container.get("env") or ()
                if isinstance(item, dict) and "name" in item and "value" in item
            }
            workload = _workload(content, name, container)
            for found in programs(lines, Manager.KUBERNETES, own, file, number):
                run = _container(found, container, "workingDir", grace, environment)
                yield replace(run, workload=workload) if isinstance(run, Program) else run


def _workload(content: Mapping[str, Any], name: str, container: Mapping[str, Any]) -> Workload | None:
    """Return what kubectl scales; a Job or DaemonSet is started and stopped in other ways."""
    kind, spec, metadata = str(content["kind"]), content.get("spec"), content.get("metadata")
    if kind not in ("Deployment", "StatefulSet") or not isinstance(spec, dict) or "name" not in container:
        return None
    replicas = spec.get("replicas")
    return Workload(
        reference=f"{kind.lower()}/{name}",
        namespace=str(metadata.get("namespace") or "") if isinstance(metadata, dict) else "",
        container=str(container["name"]),
        image=str(container.get("image") or ""),
        replicas=replicas if isinstance(replicas, int) and replicas > 0 else 1,
    )


def _pods(content: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Mapping[str, Any]]]:
    if isinstance(content, dict):
        if isinstance(content.get("containers"), list):
            yield path, content
        for key, value in content.items():
            yield from _pods(value, (*path, str(key)))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from _pods(value, (*path, index))


def _line(node: yaml.Node | None, *path: Any) -> int:
    """Return the line of a value; 0 if there is none."""
    line = 0
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pairs: Sequence[tuple[yaml.Node, yaml.Node]] = node.value
            found = next(((key, value) for key, value in pairs if key.value == str(part)), None)
            if found is None:
                return 0
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1 if node is not None else line
        else:
            return 0
    return line
