"""What every pod has to have, beyond what a schema can say. Each check yields one sentence a mistake."""

import re

from manifests import containers, name, pod, ports, template, workloads

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def lint_pods(documents):
    for workload in workloads(documents):
        where = name(workload)
        yield from pod_complaints(where, workload)
        for container in containers(workload):
            inside = f"{where} container {container['name']}"
            yield from container_complaints(inside, workload, container)


def pod_complaints(where, workload):
    spec = pod(workload)
    security = spec.get("securityContext", {})
    if security.get("runAsNonRoot") is not True:
        yield f"{where}: runAsNonRoot is not true"
    if not security.get("runAsUser"):
        yield f"{where}: runAsUser is not set, or is root"
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield f"{where}: seccompProfile is not RuntimeDefault"
    if spec.get("automountServiceAccountToken") is not False:
        yield f"{where}: automountServiceAccountToken is not false"
    if spec.get("enableServiceLinks") is not False:
        yield f"{where}: enableServiceLinks is not false"
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"{where}: {field} is not for us"
    for volume in spec.get("volumes", []):
        if "hostPath" in volume:
            yield f"{where}: volume {volume['name']} is a hostPath"
        if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
            yield f"{where}: emptyDir {volume['name']} has no sizeLimit"
    if "app" in template(workload)["metadata"].get("labels", {}):
        yield f"{where}: a bare label `app` breaks log collectors, use app.kubernetes.io/name"
    if workload["kind"] == "StatefulSet" and workload["spec"].get("podManagementPolicy") != "Parallel":
        yield f"{where}: podManagementPolicy is not Parallel, so a broken image would never heal"
    if workload["kind"] in ("Deployment", "StatefulSet"):
        yield from grace_complaints(where, spec)
    names = [container["name"] for container in containers(workload)]
    if len(names) != len(set(names)):
        yield f"{where}: two containers have the same name"


def grace_complaints(where, spec):
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is None:
        yield f"{where}: terminationGracePeriodSeconds is not set"
        return
    for container in spec["containers"]:
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if pause and pause + 20 > grace:
            yield f"{where}: the grace of {grace} s leaves less than 20 s after the preStop sleep"


def container_complaints(where, workload, container):
    security = container.get("securityContext", {})
    if security.get("allowPrivilegeEscalation") is not False:
        yield f"{where}: allowPrivilegeEscalation is not false"
    if security.get("readOnlyRootFilesystem") is not True:
        yield f"{where}: readOnlyRootFilesystem is not true"
    if security.get("capabilities", {}).get("drop") != ["ALL"] or security["capabilities"].get("add"):
        yield f"{where}: not all capabilities are dropped"
    if security.get("privileged"):
        yield f"{where}: privileged"
    if security.get("runAsUser") == 0 or security.get("runAsNonRoot") is False:
        yield f"{where}: runs as root"

    yield from resource_complaints(where, container)

    image = container.get("image", "")
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    if "@sha256:" not in image and tag in ("", "latest"):
        yield f"{where}: the image {image} has no fixed tag"

    main = container in pod(workload)["containers"]
    if main and "restartPolicy" in container:
        yield f"{where}: restartPolicy belongs to init containers"
    sidecar = not main and container.get("restartPolicy") == "Always"
    if workload["kind"] in ("Deployment", "StatefulSet") and (main or sidecar):
        for probe in PROBES:
            if probe not in container:
                yield f"{where}: has no {probe}"
    for probe in PROBES:
        if probe in container:
            yield from probe_complaints(f"{where} {probe}", container, container[probe])

    known = ports(workload)
    for port in container.get("ports", []):
        if "name" not in port:
            yield f"{where}: port {port['containerPort']} has no name"
        elif known[port["name"]] != port["containerPort"]:
            yield f"{where}: the port name {port['name']} is used twice in the pod"
        if "hostPort" in port:
            yield f"{where}: a hostPort allows one replica a node"

    yield from variable_complaints(where, container)


def resource_complaints(where, container):
    resources = container.get("resources", {})
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    for wanted in ("cpu", "memory"):
        if wanted not in requests:
            yield f"{where}: requests no {wanted}"
    if "memory" not in limits:
        yield f"{where}: has no memory limit"
    if "cpu" in limits:
        yield f"{where}: a CPU limit throttles the probes too"
    for kind, amount in limits.items():
        if kind in requests and quantity(requests[kind]) > quantity(amount):
            yield f"{where}: requests more {kind} than its limit"


def probe_complaints(where, container, probe):
    names = {port.get("name") for port in container.get("ports", [])}
    numbers = {port["containerPort"] for port in container.get("ports", [])}
    for kind in ("httpGet", "tcpSocket"):
        port = probe.get(kind, {}).get("port")
        if port is not None and port not in names:
            yield f"{where}: the container has no port named {port}"
    if "grpc" in probe and probe["grpc"]["port"] not in numbers:
        yield f"{where}: the container has no port {probe['grpc']['port']}"
    if where.endswith("livenessProbe") and probe.get("httpGet", {}).get("path") == "/ready":
        yield f"{where}: liveness must not depend on what the service needs"


def variable_complaints(where, container):
    """Kubernetes replaces $(NAME) only where NAME is defined above, and otherwise leaves it as it stands."""
    defined = set()
    for variable in container.get("env", []):
        for used in re.findall(r"\$\((\w+)\)", str(variable.get("value", ""))):
            if used not in defined:
                yield f"{where}: {variable['name']} uses $({used}), which is not defined above it"
        if variable["name"] in defined:
            yield f"{where}: {variable['name']} is set twice"
        defined.add(variable["name"])
    for argument in [*container.get("command", []), *container.get("args", [])]:
        for used in re.findall(r"\$\((\w+)\)", argument):
            if used not in defined:
                yield f"{where}: the argument {argument} uses $({used}), which is not defined"


def quantity(text):
    """A Kubernetes quantity as a number."""
    units = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    number, unit = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", str(text)).groups()
    return float(number) * units[unit]
