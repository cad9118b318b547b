"""Loads the manifests: each file as it is, and each overlay as a cluster would get it."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

KUBE_FILES = Path(__file__).resolve().parent.parent
REPOSITORY = KUBE_FILES.parent
OVERLAYS = sorted(folder.parent.name for folder in KUBE_FILES.glob("overlays/*/kustomization.yaml"))

# Kinds whose pods come from a template in their spec.
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")


def files():
    """Every file that holds manifests, as opposed to instructions for kustomize."""
    found = []
    for folder in ("base", "components", "overlays"):
        for path in sorted((KUBE_FILES / folder).rglob("*.yaml")):
            if path.name != "kustomization.yaml":
                found.append(path)
    return found


def load(text):
    """The documents of a YAML text."""
    return [document for document in yaml.safe_load_all(text) if document is not None]


def renderer():
    """The command that renders a kustomization folder, or None where there is no program for it."""
    built = REPOSITORY / ".tools" / "bin" / "kustomize"
    if built.exists():
        return [str(built), "build"]
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    return None


def render(overlay):
    """The documents of an overlay, with the example secrets in the place of real ones."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "kube_files"
        shutil.copytree(KUBE_FILES, copy, ignore=shutil.ignore_patterns("tests", "*.env.new"))
        for example in copy.rglob("*.env.example"):
            shutil.copyfile(example, example.with_suffix(""))
        command = [*renderer(), str(copy / "overlays" / overlay)]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode != 0:
            raise AssertionError(f"overlay {overlay}: {finished.stderr}")
        return load(finished.stdout)


# --- parts of a document


def name(document):
    """`Kind/name`, as people write it."""
    return f"{document['kind']}/{document['metadata']['name']}"


def of_kind(documents, *kinds):
    return [document for document in documents if document["kind"] in kinds]


def workloads(documents):
    return of_kind(documents, *WORKLOADS)


def template(workload):
    """The pod template of a workload."""
    spec = workload["spec"]
    if workload["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec["template"]


def pod_labels(workload):
    return template(workload)["metadata"].get("labels", {})


def pod(workload):
    return template(workload)["spec"]


def containers(workload):
    """All containers of a workload's pods, those that start first included."""
    spec = pod(workload)
    return [*spec.get("initContainers", []), *spec["containers"]]


def ports(workload):
    """Port name to number, over all containers."""
    return {
        port.get("name"): port["containerPort"]
        for container in containers(workload)
        for port in container.get("ports", [])
    }


def selects(selector, labels):
    """Whether a label selector matches these labels. The empty selector matches all."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions", []):
        value, operator = labels.get(expression["key"]), expression["operator"]
        matches = {
            "In": lambda v, e: v in e["values"],
            "NotIn": lambda v, e: v not in e["values"],
            "Exists": lambda v, e: v is not None,
            "DoesNotExist": lambda v, e: v is None,
        }[operator](value, expression)
        if not matches:
            return False
    return True
