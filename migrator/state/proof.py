"""The parity proof that a cutover asks for: what was compared, on which source, and that it was green.

``.migrator/proof.json`` belongs to one plan, one source tree and one set of cases. It is worth something for a day,
and only unchanged: it carries a digest over all that it says. The digest finds accidents and stale copies; whoever
can write the file can write the digest too.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson

from migrator.errors import RefusedError
from migrator.plan.model import Plan
from migrator.report import Finding, Report, Severity
from migrator.state.state_folder import ensure_state_folder

SCHEMA = 1
#: How long a proof is worth something.
FRESH = timedelta(hours=24)
#: A clock may run ahead by this much before a proof counts as being from the future.
SKEW = timedelta(minutes=5)
#: The distribution's name.
TOOL = "taskqueue-migrator"
#: What the behaviour of a project can follow from; anything else in its tree comes and goes while it runs.
SOURCE_SUFFIXES = frozenset(
    {".py", ".pyi", ".toml", ".json", ".yaml", ".yml", ".cfg", ".ini", ".html", ".txt", ".sql", ".lua", ".csv"}
)
SKIPPED_FOLDERS = frozenset(
    {".migrator", ".git", ".hg", "__pycache__", "var", "node_modules", ".venv", "venv", ".tox", "logs"}
)
REMEDY = "run `migrator parity-check` again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A record of one green parity run."""

    #: Fingerprint of the plan.
    plan: str
    #: Digest of the project's source.
    source: str
    #: Digest of cases, waivers and configuration.
    cases: str
    #: Where those lay: files and folders, relative to the plan's folder.
    case_paths: tuple[str, ...]
    #: Of the tool, and of what ran the project.
    versions: Mapping[str, str] = field(default_factory=dict)
    #: ``compared``, ``matched``, ``waived``, ``mismatched``, ``could-not-compare``, ``findings``.
    counts: Mapping[str, int] = field(default_factory=dict)
    #: Aware UTC, ISO.
    created_at: str
    #: Over everything above.
    digest: str = ""
    schema: int = SCHEMA


def proof_file(plan: Plan) -> Path:
    """Return where the plan's proof lies."""
    return plan.state_folder / "proof.json"


def write_proof(
    plan: Plan, *, case_paths: tuple[Path, ...], counts: Mapping[str, int], versions: Mapping[str, str]
) -> Proof:
    """Write the proof of a run that was just made.

    Args:
        plan: The plan that was checked.
        case_paths: Files and folders that say what was compared and what was waived.
        counts: How many comparisons ended how.
        versions: Of what ran the project.
    """
    ensure_state_folder(plan)
    proof = Proof(
        plan=plan.fingerprint,
        source=source_digest(plan, apart=case_paths),
        cases=paths_digest(case_paths),
        case_paths=tuple(_stored(plan, path) for path in case_paths),
        versions={**versions, **tool_versions()},
        counts=dict(counts),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    proof = replace(proof, digest=_digest(proof))
    file = proof_file(plan)
    fresh = file.with_suffix(".new")
    fresh.write_bytes(orjson.dumps(asdict(proof), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    fresh.replace(file)
    return proof


def discard_proof(plan: Plan) -> None:
    """Remove the proof: a run that is not green leaves none behind."""
    proof_file(plan).unlink(missing_ok=True)


def take_proof(plan: Plan, file: Path) -> None:
    """Make a proof that was made elsewhere, as in CI, the plan's own, if it allows a cutover here.

    Raises:
        RefusedError: It does not; the proof that was there stays.
    """
    report = verify_proof(plan, _read(file), file=file)
    if report.errors:
        first = report.errors[0]
        more = "; ".join(finding.what for finding in report.errors[1:])
        found = "; ".join(part for part in (first.found, more) if part)
        raise RefusedError(first.where, first.what, found=found, remedy="take the proof of this commit")
    ensure_state_folder(plan)
    fresh = proof_file(plan).with_suffix(".new")
    fresh.write_bytes(file.read_bytes())
    fresh.replace(proof_file(plan))


def read_proof(plan: Plan) -> Proof | None:
    """Return the plan's proof, or None if there is none; one that can't be read comes back without a digest."""
    return _read(proof_file(plan))


def _read(file: Path) -> Proof | None:
    try:
        document = orjson.loads(file.read_bytes())
        known = {item.name for item in fields(Proof)}
        return Proof(**{**{name: document[name] for name in known}, "case_paths": tuple(document["case_paths"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return Proof(plan="", source="", cases="", case_paths=(), created_at="")


def verify_proof(plan: Plan, proof: Proof | None, *, now: datetime | None = None, file: Path | None = None) -> Report:
    """Return whether a proof allows a cutover: it is there, unchanged, green, fresh, and belongs to what is here."""
    where = str(file or proof_file(plan))
    if proof is None:
        finding = _error("PROOF-MISSING", where, "there is no parity proof", "run `migrator parity-check`")
        return Report(subject="parity proof", checked=1, findings=(finding,))
    if proof.schema != SCHEMA or not proof.digest or proof.digest != _digest(proof):
        finding = _error("PROOF-TAMPERED", where, "the proof is not what was written", REMEDY)
        return Report(subject="parity proof", checked=1, findings=(finding,))
    findings = [*_belongs(plan, proof, where), *_worth(proof, where, now or datetime.now(UTC))]
    facts = {"created_at": proof.created_at, "counts": dict(proof.counts), "digest": proof.digest}
    return Report(subject="parity proof", checked=1, findings=tuple(findings), facts={"proof": facts})


def source_digest(plan: Plan, *, apart: Iterable[Path] = ()) -> str:
    """Return the SHA-256 over the project's source: names and bytes, nothing that running leaves behind.

    Args:
        plan: The plan; its own file is not counted.
        apart: Files and folders below the import root that have a digest of their own.
    """
    total = hashlib.sha256()
    left_out = {plan.file.resolve(), *(path.resolve() for path in apart)}
    for file in _source_files(plan.source_root):
        if left_out.isdisjoint((file.resolve(), *file.resolve().parents)):
            _add(total, file.relative_to(plan.source_root).as_posix(), file)
    return total.hexdigest()


def paths_digest(paths: tuple[Path, ...]) -> str:
    """Return the SHA-256 over files and whole folders, by their names below what was given."""
    total = hashlib.sha256()
    for path in paths:
        if path.is_file():
            _add(total, path.name, path)
        elif path.is_dir():
            inside = (found for found in path.rglob("*") if found.is_file() and "__pycache__" not in found.parts)
            for file in sorted(inside):
                _add(total, f"{path.name}/{file.relative_to(path).as_posix()}", file)
        else:
            total.update(f"absent {path.name} ".encode())
    return total.hexdigest()


def tool_versions() -> dict[str, str]:
    """Return the version of the tool."""
    try:
        return {TOOL: version(TOOL)}
    except PackageNotFoundError:
        return {TOOL: "absent"}


def other_versions(proof: Proof, versions: Mapping[str, str], where: str) -> Iterator[Finding]:
    """Say which of these versions are others than those of a proof."""
    changed = [
        f"{name} {old} → {versions[name]}" for name, old in proof.versions.items() if versions.get(name, old) != old
    ]
    if changed:
        yield _error("PROOF-STALE", where, "it was made with other versions", REMEDY, ", ".join(changed))


def _belongs(plan: Plan, proof: Proof, where: str) -> Iterator[Finding]:
    if proof.plan != plan.fingerprint:
        yield _error("PROOF-PLAN", where, "the proof belongs to another plan, or the plan was changed since", REMEDY)
    case_paths = tuple(plan.folder / path for path in proof.case_paths)
    if proof.source != source_digest(plan, apart=case_paths):
        yield _error("PROOF-SOURCE", where, "the project's source was changed since the proof", REMEDY)
    if proof.cases != paths_digest(case_paths):
        yield _error("PROOF-CASES", where, "cases, waivers or their settings were changed since the proof", REMEDY)


def _worth(proof: Proof, where: str, now: datetime) -> Iterator[Finding]:
    age = now - datetime.fromisoformat(proof.created_at)
    if age > FRESH or age < -SKEW:
        yield _error("PROOF-STALE", where, "the proof is older than a day", REMEDY, f"made at {proof.created_at}")
    yield from other_versions(proof, tool_versions(), where)
    bad = {name: proof.counts.get(name, 0) for name in ("mismatched", "could-not-compare", "findings")}
    compared = proof.counts.get("compared", 0)
    if any(bad.values()) or compared <= 0:
        found = ", ".join(f"{name}={count}" for name, count in {"compared": compared, **bad}.items())
        yield _error("PROOF-RED", where, "the run was not green", "look at its report, then run again", found)


def _source_files(root: Path) -> list[Path]:
    return sorted(
        path
        for path in root.rglob("*")
        if path.suffix in SOURCE_SUFFIXES
        and not SKIPPED_FOLDERS.intersection(part for part in path.relative_to(root).parts[:-1])
        and not any(part.endswith("_cache") for part in path.relative_to(root).parts[:-1])
        and path.is_file()
    )


def _add(total: Any, name: str, file: Path) -> None:
    data = file.read_bytes()
    total.update(f"{len(name)} {name} {len(data)} ".encode(errors="surrogateescape") + data)


def _digest(proof: Proof) -> str:
    document = {**asdict(proof), "digest": ""}
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _stored(plan: Plan, path: Path) -> str:
    """Return a path from the plan's folder, so that both may move together."""
    return Path(os.path.relpath(path.resolve(), plan.folder)).as_posix()


def _error(code: str, where: str, what: str, remedy: str, found: str = "") -> Finding:
    return Finding(code=code, severity=Severity.ERROR, where=where, what=what, found=found, remedy=remedy)
