"""Processes of a cluster: drafted with ready commands for kubectl, which a real kubectl runs against a stub of its API.

The example for compose in RUNBOOK.md is run as it stands, too, against a stub of the command.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fleet
import tomlkit
from missing import missing
from small_projects import MANAGE, Project, make_project

MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: parcels
  namespace: shop
spec:
  replicas: 2
  template:
    spec:
      terminationGracePeriodSeconds: 45
      containers:
        - name: worker
          image: registry.example.org/shop:1.41
          command: ["celery", "-A", "shop", "worker", "-Q", "celery", "--pool=solo"]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  jobTemplate:
    spec:
      template:
        spec:
          containers:
            - name: beat
              command: ["sh", "-c", "exec celery -A shop beat"]
"""
IMAGE = "registry.example.org/shop:1.41"
SHOP = {
    "manage.py": MANAGE.format(settings="shop.settings"),
    "deploy/workers.yaml": MANIFEST,
    "shop/__init__.py": "from shop.celery import app\n",
    "shop/settings.py": 'SECRET_KEY = "only for tests"\nINSTALLED_APPS = []\n',
    "shop/celery.py": """\
import os

from celery import Celery

app = Celery("shop", broker=os.environ.get("BROKER", "redis://127.0.0.1:6379/0"))


@app.task(name="shop.weigh")
def weigh(ref):
    return ref
""",
    "shop/new.py": """\
from shop.celery import app


@app.task(name="new.weigh")
def weigh(ref):
    return ref
""",
}


def drafted(project: Project) -> dict[str, dict[str, object]]:
    done = project.migrator("init", "--into", "shop.new")
    assert done.returncode == 0, done.stdout + done.stderr
    plan = tomlkit.parse((project.folder / "migration.toml").read_text()).unwrap()
    return {process["name"]: process for process in plan["process"]}


def test_a_deployment_is_drafted_with_ready_commands_and_a_cron_job_as_before(tmp_path: Path) -> None:
    found = drafted(make_project(tmp_path / "shop", SHOP))
    legacy, unified = found["legacy-parcels"], found["unified-worker"]
    kubectl = ["kubectl", "--namespace=shop"]
    assert (legacy["driver"], legacy["replicas"], legacy["stop_timeout_s"]) == ("external", 2, 45)
    assert legacy["release"] == "${LEGACY_IMAGE:-registry.example.org/shop:1.41}"
    assert legacy["start"] == [
        [*kubectl, "set", "image", "deployment/parcels", "worker={release}"],
        [*kubectl, "scale", "deployment/parcels", "--replicas={replicas}"],
        [*kubectl, "rollout", "status", "deployment/parcels", "--timeout=300s"],
    ]
    assert legacy["stop"] == [*kubectl, "scale", "deployment/parcels", "--replicas=0"]
    assert unified["release"] == "${UNIFIED_IMAGE}"
    assert unified["stop"] == [*kubectl, "scale", "deployment/unified-worker", "--replicas=0"]
    assert "{node}" not in unified["command"]
    assert found["legacy-nightly"].get("driver", "command") == "command"


class Cluster(BaseHTTPRequestHandler):
    """As much of an API server as `kubectl scale`, `set image`, `rollout status` and `get` ask for, of Kubernetes 1.32.

    What a Deployment's number of replicas says runs as processes of this machine.
    """

    protocol_version = "HTTP/1.1"
    images: dict[str, str]
    asked: list[str]
    folder: Path
    replica: tuple[str, ...]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in ("/api", "/apis"):
            versions = {"groupVersion": "apps/v1", "version": "v1"}
            group = {"name": "apps", "versions": [versions], "preferredVersion": versions}
            self.answer(
                {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}
                if path == "/apis"
                else {"kind": "APIVersions", "versions": ["v1"]}
            )
        elif path in ("/api/v1", "/apis/apps/v1"):
            verbs = ["get", "list", "patch", "watch", "update"]
            common = {"namespaced": True, "verbs": verbs}
            resources = [
                {"name": "deployments", "singularName": "deployment", "kind": "Deployment", **common},
                {"name": "deployments/scale", "group": "autoscaling", "version": "v1", "kind": "Scale", **common},
            ]
            found = resources if path.endswith("apps/v1") else []
            version = path.removeprefix("/apis/").removeprefix("/api/")
            self.answer({"kind": "APIResourceList", "groupVersion": version, "resources": found})
        elif "fieldSelector" in self.path:
            name = re.search(r"metadata.name%3D([\w-]+)", self.path)
            assert name is not None
            if "watch=" in self.path:
                self.answer({"type": "MODIFIED", "object": self.deployment(name[1])})
            else:
                kind = {"kind": "DeploymentList", "apiVersion": "apps/v1", "metadata": {"resourceVersion": "1"}}
                self.answer({**kind, "items": [self.deployment(name[1])]})
        elif path.endswith("/scale"):
            self.answer(self.scale(path.split("/")[-2]))
        elif "/deployments/" in path:
            self.answer(self.deployment(path.split("/")[-1]))
        else:
            self.answer({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}, code=404)

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        parts = self.path.partition("?")[0].split("/")
        if parts[-1] == "scale":
            name, number = parts[-2], body["spec"]["replicas"]
            self.asked.append(f"scale {name} {number}")
            verb = ("up", name, str(number), self.images.get(name, IMAGE), str(self.folder), *self.replica)
            words = verb if number else ("down", name)
            subprocess.run([sys.executable, fleet.__file__, self.folder, *words], check=True, timeout=60)
            self.answer(self.scale(name))
            return
        container = body["spec"]["template"]["spec"]["containers"][0]
        self.images[parts[-1]] = container["image"]
        self.asked.append(f"image {parts[-1]} {container['name']}={container['image']}")
        self.answer(self.deployment(parts[-1]))

    do_PUT = do_PATCH

    def deployment(self, name: str) -> dict[str, object]:
        number = len(fleet.living(self.folder / f"{name}.json"))
        container = {"name": "worker", "image": self.images.get(name, IMAGE)}
        labels = {"app": name}
        return {
            "kind": "Deployment",
            "apiVersion": "apps/v1",
            "metadata": {"name": name, "namespace": "shop", "generation": 1, "resourceVersion": "1", "uid": name},
            "spec": {
                "replicas": number,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
            "status": {
                "observedGeneration": 1,
                **dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), number),
            },
        }

    def scale(self, name: str) -> dict[str, object]:
        number = len(fleet.living(self.folder / f"{name}.json"))
        metadata = {"name": name, "namespace": "shop", "resourceVersion": "1"}
        kind = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata}
        return {**kind, "spec": {"replicas": number}, "status": {"replicas": number}}

    def answer(self, document: dict[str, object], *, code: int = 200) -> None:
        data = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def cluster(folder: Path, command: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    folder.mkdir()
    asked: list[str] = []
    given = {"images": {}, "asked": asked, "folder": folder, "replica": command}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Cluster,), given))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        for file in folder.glob("*.json"):
            for pid in fleet.living(file):
                subprocess.run(["kill", "-9", str(pid)], check=False)


def test_the_drafted_commands_run_as_they_are(tmp_path: Path, redis_url: str) -> None:
    if shutil.which("kubectl") is None:
        missing("NO KUBECTL: run `make setup-servers` (Debian: apt-get install kubernetes-client); NOT TESTED")
    project = make_project(tmp_path / "shop", SHOP)
    drafted(project)
    plan = project.folder / "migration.toml"
    text = plan.read_text()
    plan.write_text(re.sub(r'broker = "redis://[^"]*"', f'broker = "{redis_url}"', text))
    worker = (sys.executable, "-m", "celery", "--workdir", str(project.folder), "-A", "shop", "worker", "-Q", "celery")
    command = ("env", f"BROKER={redis_url}", *worker, "--pool=solo", "-n", "celery@parcels-%i")
    with cluster(tmp_path / "cluster", command) as (url, asked):
        config = tmp_path / "kubeconfig"
        config.write_text(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n"
            f"clusters: [{{name: test, cluster: {{server: '{url}'}}}}]\n"
            "contexts: [{name: test, context: {cluster: test, user: test}}]\nusers: [{name: test, user: {}}]\n"
        )
        operator = Project(
            folder=project.folder,
            environ={
                "KUBECONFIG": str(config),
                "HOME": str(tmp_path),
                "BROKER": redis_url,
                "LEGACY_IMAGE": "shop:1.42",
            },
        )
        started = operator.migrator("workers", "start", "legacy", "--yes", "--name", "legacy-parcels")
        assert started.returncode == 0, started.stdout + started.stderr
        assert asked == ["image parcels worker=shop:1.42", "scale parcels 2"]
        stopped = operator.migrator("workers", "stop", "legacy", "--yes", "--name", "legacy-parcels")
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr
        assert asked[-1] == "scale parcels 0"
        assert "stopped" in stopped.stdout


#: As much of Docker Compose 2.27 as the example uses; `ps --quiet` prints a line for each container.
DOCKER = """\
#!{python}
import hashlib, json, os, pathlib, subprocess, sys

fleet, folder, replica = {fleet!r}, {folder!r}, {replica!r}
words = sys.argv[1:]
with open(folder + "/asked", "a") as asked:
    asked.write(os.environ.get("TAG", "") + " " + " ".join(words) + "\\n")
if words[:5] == ["compose", "up", "--detach", "--no-deps", "--scale"]:
    name, number = words[5].split("=")
    assert words[6:] == [name]
    line = ["up", name, number, os.environ["TAG"], folder, *replica]
elif words[:3] == ["compose", "stop", "--timeout"]:
    line = ["down", words[4]]
else:
    assert words[:4] == ["compose", "ps", "--quiet", "--status=running"], words
    file = pathlib.Path(folder) / (words[4] + ".json")
    sys.path.insert(0, str(pathlib.Path(fleet).parent))
    import fleet as module
    for pid in module.living(file):
        print(hashlib.sha256(str(pid).encode()).hexdigest())
    sys.exit()
sys.exit(subprocess.run([sys.executable, fleet, folder, *line]).returncode)
"""
RUNBOOK = Path(__file__).parents[2] / "RUNBOOK.md"


def test_the_example_for_compose_runs_as_it_stands(tmp_path: Path, redis_url: str) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", RUNBOOK.read_text(), re.DOTALL)
    example = tomlkit.parse(next(block for block in blocks if '"compose"' in block)).unwrap()
    project = make_project(tmp_path / "shop", SHOP)
    drafted(project)
    file = project.folder / "migration.toml"
    plan = tomlkit.parse(re.sub(r'broker = "redis://[^"]*"', f'broker = "{redis_url}"', file.read_text()))
    next(process for process in plan["process"] if process["name"] == "legacy-parcels").update(example)
    file.write_text(tomlkit.dumps(plan))
    there = tmp_path / "there"
    (there / "bin").mkdir(parents=True)
    worker = (sys.executable, "-m", "celery", "--workdir", str(project.folder), "-A", "shop", "worker", "-Q", "celery")
    replica = ["env", f"BROKER={redis_url}", *worker, "--pool=solo", "-n", "celery@shop-worker-%i"]
    docker = there / "bin/docker"
    docker.write_text(DOCKER.format(python=sys.executable, fleet=fleet.__file__, folder=str(there), replica=replica))
    docker.chmod(0o755)
    operator = Project(
        folder=project.folder, environ={"BROKER": redis_url, "PATH": f"{there}/bin:{os.environ['PATH']}"}
    )
    try:
        for verb in ("start", "stop"):
            done = operator.migrator("workers", verb, "legacy", "--yes", "--name", "legacy-parcels")
            assert done.returncode == 0, done.stdout + done.stderr
    finally:
        for pid in fleet.living(there / "worker.json"):
            os.kill(pid, signal.SIGKILL)
    asked = [line for line in (there / "asked").read_text().splitlines() if " ps " not in line]
    started, stopped = asked
    assert started == f"{IMAGE} compose up --detach --no-deps --scale worker=2 worker"
    assert stopped == " compose stop --timeout 90 worker"
