"""The policies, one function each; its name is the rule. Each yields what breaks it.

What they compare with is read from where it is decided: the services themselves (`--print-config`), the workspace's version,
the contracts' partition count, the alert rules.
"""

import re
import tomllib
from pathlib import Path

from manifests import SERVICES, at, containers, differences, labels, name, pod, pod_labels, read, references, selects, title
from network import flows
from services import MOUNT, ROOT, environment, print_config, settings

# Properties of librdkafka that a deployment may set, and variables that the PostgreSQL client reads by itself.
PROPERTIES = {"security.protocol", "ssl.ca.location", "sasl.mechanism", "sasl.username", "sasl.password"}
POSTGRES = {"PGSSLMODE", "PGSSLROOTCERT"}

# Not part of the overlay; applied by whoever publishes the API.
INGRESS = "k8s/overlays/production/ingress.yaml"


def images_name_their_version(overlay):
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    for workload in overlay.workloads():
        for container in containers(workload):
            image, _, tag = container["image"].partition(":")
            if tag in ("", "latest"):
                yield f"{title(workload)}: {container['image']} is another image tomorrow"
            ours = "tidings" if workload["kind"] == "Job" else name(workload)
            if image.startswith("tidings/") and container["image"] != f"tidings/{ours}:{version}":
                yield f"{title(workload)} runs {container['image']}, this is {version}"


def containers_may_do_nothing_special(overlay):
    for workload in overlay.workloads():
        wanted = {"runAsNonRoot": True, "seccompProfile.type": "RuntimeDefault"}
        yield from differences(workload, pod(workload).get("securityContext"), wanted)
        for container in containers(workload):
            wanted = {"allowPrivilegeEscalation": False, "capabilities.drop": ["ALL"]}
            # Kafka's image writes beside its programs.
            if name(workload) != "kafka":
                wanted["readOnlyRootFilesystem"] = True
            yield from differences(workload, container.get("securityContext"), wanted)


def memory_is_bounded(overlay):
    for workload in overlay.workloads():
        for container in containers(workload):
            for path in ("requests.cpu", "requests.memory", "limits.memory"):
                if not at(container, f"resources.{path}"):
                    yield f"{title(workload)}: container {container['name']} has no {path}"


def probes_ask_what_they_mean(overlay):
    for workload in overlay.kind("Deployment", "StatefulSet"):
        for container in pod(workload)["containers"]:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if probe not in container:
                    yield f"{title(workload)}: container {container['name']} has no {probe}"
    for deployment in overlay.services():
        container = pod(deployment)["containers"][0]
        wanted = {
            "startupProbe.httpGet.path": "/health/live",
            "livenessProbe.httpGet.path": "/health/live",
            "readinessProbe.httpGet.path": "/health/ready",
        }
        yield from differences(deployment, container, wanted)
        timeout = at(container, "startupProbe.periodSeconds", 10) * at(container, "startupProbe.failureThreshold", 3)
        if timeout * 1000 <= settings(name(deployment))["lifecycle"]["start_timeout_ms"]:
            yield f"{title(deployment)} is restarted before it can say what it waits for"
        if at(container, "readinessProbe.timeoutSeconds", 1) <= 4:
            yield f"{title(deployment)}: its probe gives up while readiness may still be asking"


def a_stop_has_time_to_drain(overlay):
    for deployment in overlay.services():
        sleep = at(pod(deployment), "containers.0.lifecycle.preStop.sleep.seconds", 0)
        grace = at(pod(deployment), "terminationGracePeriodSeconds", 30)
        if sleep < 1:
            yield f"{title(deployment)} stops while requests still come"
        own = settings(name(deployment))
        # One after the other; closing what is open and flushing telemetry take 12 s at most.
        drained = own["lifecycle"]["grace_ms"] + own["outbox"]["shutdown_grace_ms"] + 12_000
        if grace * 1000 <= sleep * 1000 + drained:
            yield f"{title(deployment)} is killed before it has drained"


def a_rollout_takes_nothing_away(overlay):
    for workload in overlay.kind("Deployment"):
        if workload not in overlay.services() and name(workload) != "registry":
            continue
        yield from differences(workload, workload["spec"], {"strategy.rollingUpdate.maxUnavailable": 0})
        budgets = [
            budget
            for budget in overlay.kind("PodDisruptionBudget")
            if selects(budget["spec"]["selector"], pod_labels(workload)) and budget["spec"].get("maxUnavailable")
        ]
        if len(budgets) != 1:
            yield f"{title(workload)} has {len(budgets)} budgets for disruptions that let a node be drained"
    for deployment in overlay.services():
        spread = [term["topologyKey"] for term in pod(deployment).get("topologySpreadConstraints", [])]
        if spread != ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]:
            yield f"{title(deployment)} is not spread over zones and nodes"


def migrations_come_first_and_once(overlay):
    for deployment in overlay.services():
        first = pod(deployment).get("initContainers", [])
        main = pod(deployment)["containers"][0]
        # The command holds an advisory lock, so pods that start together take turns.
        if [step.get("args") for step in first] != [["--migrate"]] or first[0]["image"] != main["image"]:
            yield f"{title(deployment)} does not migrate with its own image before it starts"
        if {"name": "TIDINGS_DATABASE__MIGRATE", "value": "false"} not in main.get("env", []):
            yield f"{title(deployment)} migrates a second time at its start"


def every_setting_is_one_that_the_service_knows(overlay):
    for deployment in overlay.services():
        for container in containers(deployment):
            variables = environment(overlay, deployment, container)
            for variable in variables:
                if not variable.startswith("TIDINGS_") and variable not in POSTGRES:
                    yield f"{title(deployment)}: nobody reads {variable}"
            # The service itself is asked: it refuses names that it does not know, and values that it can't read.
            answer = print_config(name(deployment), variables)
            if answer.returncode != 0:
                yield f"{title(deployment)}: {answer.stderr.splitlines()[0]}"
                continue
            for unknown in set(tomllib.loads(answer.stdout)["kafka"]["properties"]) - PROPERTIES:
                yield f"{title(deployment)}: {unknown} is not among the broker properties that are expected"


def services_answer_by_their_names(overlay):
    published = [
        (rule["host"], path["backend"]["service"]["name"])
        for ingress in overlay.kind("Ingress")
        for rule in ingress["spec"]["rules"]
        for path in rule["http"]["paths"]
    ]
    for deployment in overlay.services():
        service, namespace = name(deployment), deployment["metadata"]["namespace"]
        variables = environment(overlay, deployment, pod(deployment)["containers"][0])
        allowed = variables.get("TIDINGS_HTTP__ALLOWED_HOSTS", "").split(",")
        inside = [service + suffix for suffix in ("", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.cluster.local")]
        for host in inside + [host for host, backend in published if backend == service]:
            if not any(host == entry or entry.startswith(".") and host.endswith(entry) for entry in allowed):
                yield f"{title(deployment)} refuses requests to {host}"


def secret_files_are_mounted(overlay):
    for deployment in overlay.services():
        mounted = set()
        for source in at(pod(deployment), "volumes.0.projected.sources", []):
            mounted |= {f"{MOUNT}/{item['path']}" for item in source["secret"]["items"]}
        wanted = {
            value
            for container in containers(deployment)
            for value in environment(overlay, deployment, container).values()
            if value.startswith("/run/secrets")
        }
        for path in wanted ^ (mounted | whole_secrets(deployment).keys()):
            yield f"{title(deployment)}: {path} is {'read but not mounted' if path in wanted else 'mounted but not read'}"


def whole_secrets(workload):
    """Where Secrets are mounted with all their keys, and which."""
    volumes = {volume["name"]: volume["secret"] for volume in pod(workload).get("volumes", []) if "secret" in volume}
    return {
        mount["mountPath"]: volumes[mount["name"]]["secretName"]
        for container in containers(workload)
        for mount in container.get("volumeMounts", [])
        if mount["name"] in volumes and "items" not in volumes[mount["name"]]
    }


def every_authority_of_the_brokers_is_trusted(overlay):
    """While Strimzi replaces an authority, the Secret has the new one as `ca.crt` and the old one beside it; brokers have either."""
    for kafka in overlay.kind("Kafka"):
        secret = f"{name(kafka)}-cluster-ca-cert"
        for workload in overlay.workloads():
            for volume in pod(workload).get("volumes", []):
                parts = [at(source, "secret.name") for source in at(volume, "projected.sources", [])]
                if at(volume, "secret.items"):
                    parts.append(at(volume, "secret.secretName"))
                if secret in parts:
                    yield f"{title(workload)} trusts a part of {secret}"
        for deployment in overlay.services():
            if secret not in whole_secrets(deployment).values():
                yield f"{title(deployment)} does not trust {secret}"


def what_is_referred_to_exists_and_is_used(overlay):
    text = [str(workload["spec"]["template"]) for workload in overlay.workloads()]
    text += [str(trigger["spec"]) for trigger in overlay.kind("TriggerAuthentication")]
    for config in overlay.kind("ConfigMap", "Secret"):
        if not any(f"'{name(config)}'" in part for part in text):
            yield f"{title(config)} is used by nobody"
        # What is taken as a whole is looked at where it is read; of the others each key has its reader.
        whole = re.compile(rf"'(configMap|configMapRef|secret|secretRef)': {{[^}}]*'(name|secretName)': '{name(config)}'")
        for key in [] if any(whole.search(part) for part in text) else config["data"]:
            if not any(f"'{key}'" in part for part in text):
                yield f"{title(config)}: nobody reads {key}"
    made = overlay.names("Secret") | {at(thing, "spec.target.name") for thing in overlay.kind("ExternalSecret")}
    # The operators make these.
    made |= {f"{cluster}-{what}" for cluster in overlay.names("Cluster") for what in ("app", "ca")}
    made |= overlay.names("KafkaUser") | {f"{kafka}-cluster-ca-cert" for kafka in overlay.names("Kafka")}
    known = {"configMap": overlay.names("ConfigMap"), "secret": made}
    for workload in overlay.workloads():
        for kind, wanted in references(workload["spec"]["template"]):
            if wanted not in known[kind]:
                yield f"{title(workload)} needs the {kind} {wanted}, which nobody makes"
    for service in overlay.kind("Service"):
        targets = [item for item in overlay.workloads() if selects({"matchLabels": service["spec"]["selector"]}, pod_labels(item))]
        ports = {port.get("name") for item in targets for one in containers(item) for port in one.get("ports", [])}
        numbers = {port["containerPort"] for item in targets for one in containers(item) for port in one.get("ports", [])}
        if len(targets) != 1 or not all(p.get("targetPort", p["port"]) in ports | numbers for p in service["spec"]["ports"]):
            yield f"{title(service)} leads to {len(targets)} workloads, or to a port that is not open"


def nobody_has_a_token(overlay):
    accounts = []
    for workload in overlay.workloads():
        # Variables that describe Services would be settings that nobody knows.
        yield from differences(workload, pod(workload), {"automountServiceAccountToken": False, "enableServiceLinks": False})
    for deployment in overlay.services():
        accounts.append(pod(deployment).get("serviceAccountName"))
        yield from differences(deployment, overlay.get("ServiceAccount", name(deployment)), {"automountServiceAccountToken": False})
    if sorted(map(str, accounts)) != sorted(SERVICES):
        yield f"services share accounts: {accounts}"


def only_these_ways_are_open(overlay):
    if overlay.get("NetworkPolicy", "default-deny")["spec"] != {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}:
        yield "what no policy names is not denied"
    wanted = set((Path(__file__).parent / "flows" / f"{overlay.name}.txt").read_text().splitlines())
    found = flows(overlay)
    yield from (f"open: {flow}" for flow in sorted(found - wanted))
    yield from (f"closed: {flow}" for flow in sorted(wanted - found))


def pods_that_break_the_restricted_standard_are_refused(overlay):
    for namespace in overlay.kind("Namespace"):
        for mode in ("enforce", "warn"):
            if labels(namespace).get(f"pod-security.kubernetes.io/{mode}") != "restricted":
                yield f"{title(namespace)} does not {mode} the restricted standard"
    if overlay.names("Namespace") != {"tidings"}:
        yield "the namespace is not part of the manifests"


def topics_keep_everything_on_three_brokers(overlay):
    source = (ROOT / "shared/contracts/src/topics.rs").read_text()
    partitions = int(re.search(r"PARTITIONS: i32 = (\d+)", source)[1])
    wanted = {
        "partitions": partitions,
        "replicas": 3,
        "config": {
            "cleanup.policy": "delete",
            "retention.ms": -1,
            "retention.bytes": -1,
            "min.insync.replicas": 2,
            "unclean.leader.election.enable": False,
        },
    }
    for topic in overlay.kind("KafkaTopic"):
        yield from differences(topic, topic, {"spec": wanted})
    if overlay.names("KafkaTopic") != {f"tidings.{topic}" for topic in ("orders", "reservations", "payments", "stock")}:
        yield "not exactly the four topics"
    for scaled in overlay.kind("ScaledObject"):
        if at(scaled, "spec.maxReplicaCount", 100) > partitions:
            yield f"{title(scaled)} asks for readers without partitions"


def one_scaler_for_each_service(overlay):
    targets = sorted(at(scaler, "spec.scaleTargetRef.name") for scaler in overlay.kind("ScaledObject", "HorizontalPodAutoscaler"))
    if targets != sorted(SERVICES):
        yield f"scaled are {targets}"
    for deployment in overlay.services():
        if "replicas" in deployment["spec"]:
            yield f"{title(deployment)}: its number of replicas would undo the scaler's work"
    for scaled in overlay.kind("ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            if at(trigger, "metadata.consumerGroup") != f"tidings.{at(scaled, 'spec.scaleTargetRef.name')}":
                yield f"{title(scaled)} looks at another group's lag"
        path = "spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleDown.stabilizationWindowSeconds"
        if at(scaled, path, 0) < 300 or at(scaled, "spec.minReplicaCount", 0) < 2:
            yield f"{title(scaled)} moves partitions at every lull"


def each_service_is_a_user_with_its_own_group(overlay):
    for service in SERVICES:
        rules = at(overlay.get("KafkaUser", service), "spec.authorization.acls")
        groups = {at(rule, "resource.name") for rule in rules if at(rule, "resource.type") == "group"}
        if f"tidings.{service}" not in groups or any(not group.startswith(f"tidings.{service}") for group in groups):
            yield f"KafkaUser/{service} reads in groups {groups}"
    owners = [
        (at(rule, "resource.name"), name(user))
        for user in overlay.kind("KafkaUser")
        for rule in at(user, "spec.authorization.acls")
        if "Write" in rule["operations"]
    ]
    if sorted(topic for topic, _ in owners) != sorted(overlay.names("KafkaTopic")):
        yield f"topics do not have one writer each: {owners}"


def alerts_are_those_that_are_tested(overlay):
    tested = read(ROOT / "observability/prometheus/alerts.yml")[0]["groups"]
    if [at(rule, "spec.groups") for rule in overlay.kind("PrometheusRule")] != [tested]:
        yield "the PrometheusRule differs from observability/prometheus/alerts.yml: copy its groups"


def the_scaler_speaks_the_brokers_version(overlay):
    versions = [at(kafka, "spec.kafka.version") for kafka in overlay.kind("Kafka")]
    for scaled in overlay.kind("ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            # KEDA's default is 1.0.0, whose requests Kafka 4 has removed.
            if trigger["type"] == "kafka" and [at(trigger, "metadata.version")] != versions:
                yield f"{title(scaled)} speaks Kafka {at(trigger, 'metadata.version')}, the brokers are {versions}"


# Annotations by which an ingress controller lets nobody in whom it does not know.
AUTHENTICATION = {
    "nginx.ingress.kubernetes.io/auth-url",
    "nginx.ingress.kubernetes.io/auth-tls-secret",
    "nginx.ingress.kubernetes.io/auth-secret",
    "haproxy-ingress.github.io/auth-url",
    "alb.ingress.kubernetes.io/auth-type",
}


def nothing_is_published_without_authentication(overlay):
    """The services do not ask who calls: whoever reaches `GET /orders` reads names and addresses."""
    published = overlay.kind("Ingress") + (read(ROOT / INGRESS) if overlay.name == "production" else [])
    for ingress in published:
        if ingress["kind"] == "Ingress" and not AUTHENTICATION & (at(ingress, "metadata.annotations") or {}).keys():
            yield f"{title(ingress)} publishes an API to everybody"
    for service in overlay.kind("Service"):
        if at(service, "spec.type", "ClusterIP") != "ClusterIP" or at(service, "spec.externalIPs"):
            yield f"{title(service)} is reached from outside, past every authentication"
    for route in overlay.kind("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "IngressRoute", "VirtualService", "Route"):
        yield f"{title(route)} publishes an API, and nothing here says to whom"


def no_secret_is_written_down(overlay):
    for secret in overlay.kind("Secret"):
        yield f"{title(secret)} is in the repository"
    for workload in overlay.workloads():
        for container in containers(workload):
            for variable in container.get("env", []):
                if re.search("PASSWORD$|SECRET|TOKEN", variable["name"]) and "value" in variable:
                    yield f"{title(workload)}: {variable['name']} is in the repository"


EVERYWHERE = (
    images_name_their_version,
    containers_may_do_nothing_special,
    memory_is_bounded,
    probes_ask_what_they_mean,
    a_stop_has_time_to_drain,
    a_rollout_takes_nothing_away,
    migrations_come_first_and_once,
    every_setting_is_one_that_the_service_knows,
    services_answer_by_their_names,
    secret_files_are_mounted,
    what_is_referred_to_exists_and_is_used,
    nobody_has_a_token,
    only_these_ways_are_open,
    pods_that_break_the_restricted_standard_are_refused,
    nothing_is_published_without_authentication,
)
PRODUCTION = (
    topics_keep_everything_on_three_brokers,
    one_scaler_for_each_service,
    each_service_is_a_user_with_its_own_group,
    alerts_are_those_that_are_tested,
    no_secret_is_written_down,
    every_authority_of_the_brokers_is_trusted,
    the_scaler_speaks_the_brokers_version,
)
