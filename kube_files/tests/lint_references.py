"""What names something else has to name something that is there. Each check yields one sentence a mistake."""

import re

from manifests import containers, name, of_kind, pod, pod_labels, ports, selects, workloads

# Where replicas are listed one by one, and on which port each kind of client finds them.
REPLICA_LIST = re.compile(r"([a-z-]+)-(\d+)\.([a-z-]+):(\d+)")

# Certificates come from whoever issues them, such as cert-manager; README.md says what is in them.
MADE_ELSEWHERE = {"processor-tls", "recognizer-tls", "transformer-tls"}


def lint_references(documents):
    yield from identity_complaints(documents)
    yield from selector_complaints(documents)
    for workload in workloads(documents):
        yield from account_complaints(documents, workload)
        yield from volume_complaints(documents, workload)
        for container in containers(workload):
            yield from environment_complaints(documents, workload, container)
    yield from service_complaints(documents)
    yield from budget_complaints(documents)
    yield from replica_list_complaints(documents)


def identity_complaints(documents):
    seen = set()
    for document in documents:
        if name(document) in seen:
            yield f"{name(document)}: is there twice"
        seen.add(name(document))
        namespace = document["metadata"].get("namespace")
        if document["kind"] != "Namespace" and namespace not in {n["metadata"]["name"] for n in of_kind(documents, "Namespace")}:
            yield f"{name(document)}: lies in the namespace {namespace}, which is not among the manifests"


def selector_complaints(documents):
    for workload in of_kind(documents, "Deployment", "StatefulSet", "DaemonSet"):
        selector, labels = workload["spec"]["selector"], pod_labels(workload)
        if not selects(selector, labels):
            yield f"{name(workload)}: its selector does not match the labels of its own pods"
        for other in workloads(documents):
            if other is not workload and selects(selector, pod_labels(other)):
                yield f"{name(workload)}: its selector matches the pods of {name(other)}"
        for constraint in pod(workload).get("topologySpreadConstraints", []):
            if not selects(constraint["labelSelector"], labels):
                yield f"{name(workload)}: a spread constraint does not match the labels of its own pods"


def account_complaints(documents, workload):
    account = pod(workload).get("serviceAccountName")
    if account not in {a["metadata"]["name"] for a in of_kind(documents, "ServiceAccount")}:
        yield f"{name(workload)}: there is no ServiceAccount {account}"


def volume_complaints(documents, workload):
    claims = {claim["metadata"]["name"] for claim in of_kind(documents, "PersistentVolumeClaim")}
    templates = {t["metadata"]["name"] for t in workload["spec"].get("volumeClaimTemplates", [])}
    volumes = {volume["name"] for volume in pod(workload).get("volumes", [])}
    mounted = set()
    for volume in pod(workload).get("volumes", []):
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim is not None and claim not in claims:
            yield f"{name(workload)}: there is no PersistentVolumeClaim {claim}"
        for kind, field in (("configMap", "name"), ("secret", "secretName")):
            if kind not in volume or (kind == "secret" and volume[kind][field] in MADE_ELSEWHERE):
                continue
            if not data(documents, kind, volume[kind][field]):
                yield f"{name(workload)}: volume {volume['name']}: there is no {kind} {volume[kind][field]}"
    for container in containers(workload):
        for mount in container.get("volumeMounts", []):
            mounted.add(mount["name"])
            if mount["name"] not in volumes | templates:
                yield f"{name(workload)} container {container['name']}: there is no volume {mount['name']}"
    for unused in (volumes | templates) - mounted:
        yield f"{name(workload)}: nothing mounts the volume {unused}"


def data(documents, kind, wanted):
    """The keys and values of a ConfigMap or Secret, or None where there is none of this name."""
    kinds = {"configMap": "ConfigMap", "secret": "Secret"}
    for document in of_kind(documents, kinds[kind]):
        if document["metadata"]["name"] == wanted:
            return {**document.get("data", {}), **document.get("stringData", {})}
    return None


def environment_complaints(documents, workload, container):
    where = f"{name(workload)} container {container['name']}"
    for source in container.get("envFrom", []):
        for kind in ("configMap", "secret"):
            reference = source.get(f"{kind}Ref")
            if reference and data(documents, kind, reference["name"]) is None:
                yield f"{where}: there is no {kind} {reference['name']}"
    for variable in container.get("env", []):
        for kind in ("configMap", "secret"):
            reference = variable.get("valueFrom", {}).get(f"{kind}KeyRef")
            if reference and reference["key"] not in (data(documents, kind, reference["name"]) or {}):
                yield f"{where}: {variable['name']}: there is no key {reference['key']} in {kind} {reference['name']}"


def service_complaints(documents):
    for service in of_kind(documents, "Service"):
        spec = service["spec"]
        chosen = [w for w in workloads(documents) if selects({"matchLabels": spec["selector"]}, pod_labels(w))]
        if not chosen:
            yield f"{name(service)}: selects no pods"
        for port in spec["ports"]:
            for workload in chosen:
                if port.get("targetPort") not in ports(workload):
                    yield f"{name(service)}: {name(workload)} has no port named {port.get('targetPort')}"
    headless = {s["metadata"]["name"]: s for s in of_kind(documents, "Service") if s["spec"].get("clusterIP") == "None"}
    for stateful in of_kind(documents, "StatefulSet"):
        service = headless.get(stateful["spec"].get("serviceName"))
        if service is None or not selects({"matchLabels": service["spec"]["selector"]}, pod_labels(stateful)):
            yield f"{name(stateful)}: serviceName does not name a headless Service of its pods"


def budget_complaints(documents):
    budgets = of_kind(documents, "PodDisruptionBudget")
    for budget in budgets:
        spec = budget["spec"]
        if not any(selects(spec["selector"], pod_labels(w)) for w in workloads(documents)):
            yield f"{name(budget)}: selects no pods"
        if spec.get("maxUnavailable") != 1:
            yield f"{name(budget)}: maxUnavailable is not 1, and anything else can block a drain"
        if spec.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            yield f"{name(budget)}: a crash loop would block a drain, unhealthyPodEvictionPolicy is not AlwaysAllow"
    for workload in of_kind(documents, "Deployment", "StatefulSet"):
        several = workload["spec"].get("replicas", 1) > 1
        if several and not any(selects(b["spec"]["selector"], pod_labels(workload)) for b in budgets):
            yield f"{name(workload)}: has several replicas and no PodDisruptionBudget"


def replica_list_complaints(documents):
    """Lists such as `nsqlookupd-0.nsqlookupd:4161,…` name every replica, on a port that it has."""
    sources = [(name(c), value) for c in of_kind(documents, "ConfigMap") for value in c.get("data", {}).values()]
    for workload in workloads(documents):
        for container in containers(workload):
            sources.append((f"{name(workload)} container {container['name']}", "\n".join(container.get("args", []))))
    stateful = {s["metadata"]["name"]: s for s in of_kind(documents, "StatefulSet")}
    for where, text in sources:
        listed = {}
        for workload, index, service, port in REPLICA_LIST.findall(text):
            listed.setdefault((workload, service, int(port)), set()).add(int(index))
        for (workload, service, port), indexes in listed.items():
            target = stateful.get(workload)
            if target is None or target["spec"]["serviceName"] != service:
                yield f"{where}: there is no StatefulSet {workload} with the service {service}"
                continue
            if indexes != set(range(target["spec"]["replicas"])):
                yield f"{where}: lists {len(indexes)} of {workload}, which has {target['spec']['replicas']} replicas"
            if port not in ports(target).values():
                yield f"{where}: {workload} has no port {port}"
