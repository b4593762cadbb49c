"""What Kustomize made of one overlay, and questions about it."""

import copy
import sys

try:
    import yaml
except ImportError:
    sys.exit("PyYAML is missing; it reads the manifests. Debian and Ubuntu: 'sudo apt-get install python3-yaml'.")

SERVICES = ("order", "inventory", "payment", "notification", "analytics")
WORKLOADS = ("Deployment", "StatefulSet", "Job")


def read(path):
    with open(path, encoding="utf-8") as file:
        return [document for document in yaml.safe_load_all(file) if document]


class Overlay:
    """The objects of one overlay. Those that our own pods are made of have names; the rest is asked for by kind."""

    def __init__(self, name, objects):
        self.name = name
        self.objects = objects

    def copy(self):
        return Overlay(self.name, copy.deepcopy(self.objects))

    def kind(self, *kinds):
        return [thing for thing in self.objects if thing["kind"] in kinds]

    def names(self, *kinds):
        return {name(thing) for thing in self.kind(*kinds)}

    def get(self, kind, wanted):
        """The object of that name, or of that name and Kustomize's hash."""
        for thing in self.kind(kind):
            if name(thing) == wanted or name(thing).rpartition("-")[0] == wanted:
                return thing
        raise KeyError(f"{kind}/{wanted}")

    def workloads(self):
        return self.kind(*WORKLOADS)

    def services(self):
        return [self.get("Deployment", service) for service in SERVICES]


def name(thing):
    return thing["metadata"]["name"]


def labels(thing):
    return thing.get("metadata", {}).get("labels", {})


def title(thing):
    return f"{thing['kind']}/{name(thing)}"


def pod(workload):
    return workload["spec"]["template"]["spec"]


def pod_labels(workload):
    return labels(workload["spec"]["template"])


def containers(workload):
    """All containers, those that run first included."""
    return pod(workload).get("initContainers", []) + pod(workload)["containers"]


def at(thing, path, default=None):
    """The value at a path such as `spec.strategy.type`."""
    for step in path.split("."):
        thing = thing[int(step)] if isinstance(thing, list) else (thing or {}).get(step)
        if thing is None:
            return default
    return thing


def selects(selector, candidate):
    """Whether a label selector selects these labels; an empty one selects everything."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if candidate.get(key) != value:
            return False
    for term in selector.get("matchExpressions") or []:
        found = candidate.get(term["key"])
        holds = {
            "Exists": found is not None,
            "DoesNotExist": found is None,
            "In": found in term.get("values", []),
            "NotIn": found not in term.get("values", []),
        }[term["operator"]]
        if not holds:
            return False
    return True


def differences(thing, part, wanted):
    """What a part of an object has instead of the values wanted at these paths."""
    for path, value in wanted.items():
        found = at(part or {}, path)
        if found != value:
            yield f"{title(thing)}: {path} is {found}, not {value}"


def references(part):
    """Kind and name of each ConfigMap and Secret that a part of a pod names."""
    if isinstance(part, list):
        for item in part:
            yield from references(item)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key in ("configMap", "configMapRef", "configMapKeyRef"):
                yield "configMap", value["name"]
            elif key in ("secret", "secretRef", "secretKeyRef"):
                yield "secret", value.get("name") or value["secretName"]
            else:
                yield from references(value)
