"""Whether the network policies let through what the services need, and nothing that they do not.

Network policies are enforced by few test clusters, so a missing rule would be found in production: here
they are evaluated by the rules of the API (policies of a direction add up; a pod that no policy of a
direction selects is open in it; both ends have to allow a connection).
"""

from manifests import of_kind, pod_labels, ports, selects, workloads

# From, to, port: all that is needed inside the namespace. What is not in the list has to be closed.
FLOWS = {
    ("receiver", "nsqlookupd", "nsqlookupd-tcp"),
    ("processor", "nsqlookupd", "nsqlookupd-http"),
    ("processor", "receiver", "nsqd-tcp"),
    ("processor", "receiver", "nsqd-http"),
    ("processor", "recognizer", "grpc"),
    ("receiver", "mysql", "mysql"),
    ("processor", "mysql", "mysql"),
    ("recognizer", "mysql", "mysql"),
    ("frontend", "mysql", "mysql"),
    ("migrate", "mysql", "mysql"),
    ("redeem", "mysql", "mysql"),
}


def lint_network(documents):
    pods = {pod_labels(w).get("app.kubernetes.io/name"): w for w in workloads(documents)}
    policies = of_kind(documents, "NetworkPolicy")
    if not any(denies_by_default(policy["spec"]) for policy in policies):
        yield "network: nothing is denied by default"
    for source in pods:
        for destination in pods:
            for port, number in ports(pods[destination]).items():
                needed = (source, destination, port) in FLOWS
                open_ = allows(policies, pods[source], pods[destination], port, number)
                if needed and not open_:
                    yield f"network: {source} cannot reach {destination} on {port}"
                if open_ and not needed:
                    yield f"network: {source} can reach {destination} on {port} and need not"
    for name in pods:
        if not allowed(policies, "Egress", pods[name], {"k8s-app": "kube-dns"}, None, 53, {"elsewhere": "yes"}):
            yield f"network: {name} cannot ask the DNS"


def denies_by_default(spec):
    everything = not spec["podSelector"] and set(spec["policyTypes"]) == {"Ingress", "Egress"}
    return everything and not spec.get("ingress") and not spec.get("egress")


def allows(policies, source, destination, port, number):
    out = allowed(policies, "Egress", source, pod_labels(destination), port, number)
    return out and allowed(policies, "Ingress", destination, pod_labels(source), port, number)


def allowed(policies, direction, pod, peer_labels, port, number, peer_namespace=None):
    """Whether one end allows a connection with a peer, by default one of the same namespace."""
    mine = [
        policy["spec"]
        for policy in policies
        if selects(policy["spec"]["podSelector"], pod_labels(pod)) and direction in policy["spec"]["policyTypes"]
    ]
    if not mine:
        return True
    rules = [rule for spec in mine for rule in spec.get(direction.lower(), [])]
    peers_field = {"Egress": "to", "Ingress": "from"}[direction]
    return any(
        port_matches(rule.get("ports"), port, number) and peer_matches(rule.get(peers_field), peer_labels, peer_namespace)
        for rule in rules
    )


def port_matches(listed, port, number):
    return not listed or any(entry["port"] in (port, number) for entry in listed)


def peer_matches(peers, labels, namespace):
    if not peers:
        return True
    for peer in peers:
        if "namespaceSelector" in peer:
            # Our own namespace's labels are what kubernetes sets on each.
            of_namespace = namespace or {"kubernetes.io/metadata.name": "safelight"}
            if not selects(peer["namespaceSelector"], of_namespace):
                continue
        elif namespace is not None:
            continue
        if selects(peer.get("podSelector", {}), labels):
            return True
    return False
