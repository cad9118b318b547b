"""Whether the network policies let through what the services need, and nothing that they do not.

Network policies are enforced by few test clusters, so a missing rule would be found in production: here
they are evaluated by the rules of the API (policies of a direction add up; a pod that no policy of a
direction selects is open in it; both ends have to allow a connection).
"""

from ipaddress import ip_address, ip_network

from manifests import of_kind, pod_labels, ports, selects, workloads

# From, to, port: all that is needed inside the namespace. What is not in the list has to be closed.
FLOWS = {
    ("receiver", "nsqlookupd", "nsqlookupd-tcp"),
    ("processor", "nsqlookupd", "nsqlookupd-http"),
    ("processor", "receiver", "nsqd-tcp"),
    ("processor", "receiver", "nsqd-http"),
    ("processor", "recognizer", "grpc"),
    ("processor", "transformer", "grpc"),
    ("notifier", "nsqlookupd", "nsqlookupd-http"),
    ("notifier", "receiver", "nsqd-tcp"),
    ("receiver", "mysql", "mysql"),
    ("processor", "mysql", "mysql"),
    ("recognizer", "mysql", "mysql"),
    ("notifier", "mysql", "mysql"),
    ("frontend", "mysql", "mysql"),
    ("migrate", "mysql", "mysql"),
    ("redeem", "mysql", "mysql"),
}

# From, port: what is needed of those outside the cluster, whom nobody here knows beforehand.
OUTSIDE = {
    ("notifier", 25),
    ("notifier", 443),
    ("notifier", 465),
    ("notifier", 587),
}

# Anybody's address, of either kind, and those of what lies inside: pods, machines, the cloud's own services.
PUBLIC = ("1.1.1.1", "2606:4700:4700::1111")
PRIVATE = (
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.0.1",
    "::1",
    "::ffff:10.0.0.1",
    "2002:a00:1::",
    "fd00::1",
    "fe80::1",
)

# They work on what anybody sends, and ask nobody anything.
SILENT = {"transformer"}


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
        asks = allowed(policies, "Egress", pods[name], {"k8s-app": "kube-dns"}, None, 53, {"elsewhere": "yes"})
        if not asks and name not in SILENT:
            yield f"network: {name} cannot ask the DNS"
        if asks and name in SILENT:
            yield f"network: {name} can ask the DNS and need not"
        yield from outside_complaints(policies, name, pods[name])


def outside_complaints(policies, name, pod):
    for port in (25, 80, 443, 465, 587):
        for address in PUBLIC:
            needed = (name, port) in OUTSIDE
            open_ = reaches(policies, pod, address, port)
            if needed and not open_:
                yield f"network: {name} cannot reach {address} on {port}"
            if open_ and not needed:
                yield f"network: {name} can reach {address} on {port} and need not"
    for address in PRIVATE:
        if reaches(policies, pod, address, 443):
            yield f"network: {name} can be sent to {address}, which lies inside"


def reaches(policies, pod, address, port):
    """Whether a pod may open a connection to an address that is no pod of ours."""
    return allowed(policies, "Egress", pod, {}, None, port, {"elsewhere": "yes"}, address)


def denies_by_default(spec):
    everything = not spec["podSelector"] and set(spec["policyTypes"]) == {"Ingress", "Egress"}
    return everything and not spec.get("ingress") and not spec.get("egress")


def allows(policies, source, destination, port, number):
    out = allowed(policies, "Egress", source, pod_labels(destination), port, number)
    return out and allowed(policies, "Ingress", destination, pod_labels(source), port, number)


def allowed(policies, direction, pod, peer_labels, port, number, peer_namespace=None, address="10.244.0.1"):
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
        port_matches(rule.get("ports"), port, number) and peer_matches(rule.get(peers_field), peer_labels, peer_namespace, address)
        for rule in rules
    )


def port_matches(listed, port, number):
    return not listed or any(entry["port"] in (port, number) for entry in listed)


def peer_matches(peers, labels, namespace, address):
    if not peers:
        return True
    for peer in peers:
        if "ipBlock" in peer:
            if is_within(ip_address(address), peer["ipBlock"]):
                return True
            continue
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


def is_within(address, block):
    excepted = any(address in ip_network(part) for part in block.get("except", []))
    return address in ip_network(block["cidr"]) and not excepted
