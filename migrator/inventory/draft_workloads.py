"""Draft the commands by which kubectl starts, stops and counts what a manifest describes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import tomlkit
from tomlkit.items import Array, Table

from migrator.inventory.deployment.program import Workload
from migrator.plan.toml_table import REFERENCE


def draft_workload(table: Table, workload: Workload, *, side: str) -> None:
    """Write the keys of a process that runs in a cluster; the image comes from a variable, if one is set."""
    plain = workload.image and not REFERENCE.search(workload.image) and not set(workload.image) & set("${}")
    default = f":-{workload.image}" if plain and side == "legacy" else ""
    kubectl = ["kubectl", *([f"--namespace={workload.namespace}"] if workload.namespace else [])]
    what = workload.reference
    table["replicas"] = workload.replicas
    table["release"] = f"${{{side.upper()}_IMAGE{default}}}"
    starts = (
        [*kubectl, "set", "image", what, f"{workload.container}={{release}}"],
        [*kubectl, "scale", what, "--replicas={replicas}"],
        [*kubectl, "rollout", "status", what, "--timeout=300s"],
    )
    table["start"] = _lines(starts)
    table["stop"] = [*kubectl, "scale", what, "--replicas=0"]
    table["state"] = [*kubectl, "get", what, "--output=jsonpath={.status.replicas}"]


def unified_workload(model: Workload, name: str) -> Workload:
    """Return the workload beside that of the legacy side."""
    return replace(model, reference=f"{model.reference.partition('/')[0]}/{name}")


def _lines(commands: Sequence[Sequence[str]]) -> Array:
    array = tomlkit.array().multiline(multiline=True)
    array.extend([list(command) for command in commands])
    return array
