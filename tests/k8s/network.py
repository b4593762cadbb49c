"""Who reaches whom, computed from the network policies."""

from manifests import labels, name, pod_labels, selects

# Ports that somebody listens on, here or outside.
PORTS = (443, 587, 1025, 4318, 5432, 8000, 8080, 9092, 9093)
# Where pods are that are not ours. A pod there may send and take whatever it likes; it is our side that is asked.
OUTSIDE = ("cnpg-system", "ingress", "keda", "monitoring", "observability", "default", "internet")


def pods(overlay):
    """Names and labels of all pods: the overlay's own, and those that operators make of its resources."""
    found = {name(workload): pod_labels(workload) for workload in overlay.workloads()}
    for cluster in overlay.kind("Cluster"):
        found[name(cluster)] = {"cnpg.io/cluster": name(cluster)}
    for kafka in overlay.kind("Kafka"):
        found["kafka"] = {"strimzi.io/cluster": name(kafka), "strimzi.io/kind": "Kafka"}
    return found


def policies(overlay):
    """The overlay's policies, and the one that Strimzi makes of each listener."""
    found = [policy["spec"] for policy in overlay.kind("NetworkPolicy")]
    for kafka in overlay.kind("Kafka"):
        for listener in kafka["spec"]["kafka"]["listeners"]:
            rule = {"ports": [{"port": listener["port"]}]}
            if "networkPolicyPeers" in listener:
                rule["from"] = listener["networkPolicyPeers"]
            brokers = {"strimzi.io/cluster": name(kafka), "strimzi.io/kind": "Kafka"}
            found.append({"podSelector": {"matchLabels": brokers}, "policyTypes": ["Ingress"], "ingress": [rule]})
    return found


def is_peer(peer, other, found):
    if other in found:
        return "namespaceSelector" not in peer and selects(peer.get("podSelector", {}), found[other])
    if other == "internet" or "namespaceSelector" not in peer:
        return False
    return selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": other})


def opens(rule, direction, other, port, found):
    peers = rule.get("to" if direction == "Egress" else "from")
    ports = rule.get("ports")
    return (not ports or any(entry.get("port") == port for entry in ports)) and (
        not peers or any(is_peer(peer, other, found) for peer in peers)
    )


def allowed(side, direction, other, port, found, rules):
    if side not in found:
        return True
    applying = [spec for spec in rules if direction in spec["policyTypes"] and selects(spec["podSelector"], found[side])]
    # Kubernetes allows everything to a pod that no policy concerns.
    return not applying or any(
        opens(rule, direction, other, port, found) for spec in applying for rule in spec.get(direction.lower(), [])
    )


def flows(overlay):
    """Lines such as `order -> kafka:9093`, one for each way that is open at both of its ends."""
    found, rules = pods(overlay), policies(overlay)

    def reach(client, server, port):
        return allowed(client, "Egress", server, port, found, rules) and allowed(
            server, "Ingress", client, port, found, rules
        )

    lines = set()
    for port in PORTS:
        for ours in found:
            out = [other for other in OUTSIDE if reach(ours, other, port)]
            out = ["anywhere"] if len(out) == len(OUTSIDE) else out
            out += [other for other in found if reach(ours, other, port)]
            lines |= {f"{ours} -> {server}:{port}" for server in out}
            lines |= {f"{other} -> {ours}:{port}" for other in OUTSIDE if reach(other, ours, port)}
    return lines
