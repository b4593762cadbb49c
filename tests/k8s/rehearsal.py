"""The five services with production's environment, on the servers that `rehearse` has started. The last line counts."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from pathlib import Path
from urllib.parse import urlsplit

from manifests import SERVICES, Overlay, at, containers, name, pod, read
from services import BINARIES, MOUNT, ROOT, environment

RUN = Path(sys.argv[1])
BROKER, OPEN, REGISTRY = (os.environ[f"REHEARSAL_{what}"] for what in ("BROKER", "OPEN", "REGISTRY"))
POSTGRES = urlsplit(os.environ["TIDINGS_TEST_POSTGRES"])
OVERLAY = Overlay("production", read(RUN / "production.yaml"))
# Seconds. Longer than a member may stay out of its group before it is replaced.
WAIT_TIMEOUT = 180
# Where the overlay mounts the certificates of the brokers' authority.
KAFKA_CA = "/run/secrets/kafka-ca"
outcomes = []


def check(what, problem=None):
    print(f"rehearsal: {what} ... {f'FAILED: {problem}' if problem else 'ok'}", flush=True)
    outcomes.append(not problem)


def kafka_tool(tool, *arguments, stdin=""):
    command = [os.environ["REHEARSAL_JAVA"], "-cp", f"{os.environ['REHEARSAL_LIBS']}/*", f"org.apache.kafka.tools.{tool}"]
    return subprocess.run(
        [*command, *arguments], input=stdin, capture_output=True, text=True, timeout=WAIT_TIMEOUT, check=False
    )


def administer(tool, *arguments):
    answer = kafka_tool(tool, "--bootstrap-server", OPEN, *arguments)
    if answer.returncode:
        sys.exit(f"{tool} {arguments}: {answer.stdout}{answer.stderr}")


def as_user(user, tool, *arguments, stdin=""):
    """A tool of Kafka's, with the rights of one of the overlay's users."""
    file = RUN / "secrets" / f"{user}.properties"
    module = "org.apache.kafka.common.security.scram.ScramLoginModule"
    file.write_text(
        f"security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nssl.truststore.type=PEM\n"
        f"ssl.truststore.location={RUN}/certificates/ca.crt\nenable.idempotence=false\nmax.block.ms=60000\n"
        f'sasl.jaas.config={module} required username="{user}" password="password-of-{user}";\n'
    )
    answer = kafka_tool(tool, "--bootstrap-server", BROKER, "--command-config", str(file), *arguments, stdin=stdin)
    return answer.stdout + answer.stderr


def prepare_broker():
    """The overlay's topics, and exactly the rights of its users."""
    for topic in OVERLAY.kind("KafkaTopic"):
        count = str(at(topic, "spec.partitions"))
        administer("TopicCommand", "--create", "--topic", name(topic), "--partitions", count, "--replication-factor", "1")
    rights = defaultdict(list)
    for user in OVERLAY.kind("KafkaUser"):
        for rule in at(user, "spec.authorization.acls"):
            resource = rule["resource"]
            pattern = {"prefix": "prefixed"}.get(resource.get("patternType"), "literal")
            rights[name(user), pattern, tuple(rule["operations"])] += [f"--{resource['type']}", resource["name"]]
    for (user, pattern, operations), resources in rights.items():
        allowed = [word for operation in operations for word in ("--operation", operation)]
        who = ("--allow-principal", f"User:{user}", "--resource-pattern-type", pattern)
        administer("AclCommand", "--add", *who, *allowed, *resources)


def prepare_databases():
    """By the script that PostgreSQL's image runs in the local overlay."""
    for service in SERVICES:
        folder = RUN / "secrets/databases" / service
        folder.mkdir(parents=True)
        for key, value in {"username": service, "password": f"of/{service}", "dbname": f"tidings_{service}"}.items():
            (folder / key).write_text(value)
    script = (ROOT / "k8s/overlays/local/databases.sh").read_text()
    variables = {"PGHOST": POSTGRES.hostname, "PGPORT": str(POSTGRES.port), "PGPASSWORD": POSTGRES.password or ""}
    variables |= {"POSTGRES_USER": POSTGRES.username, "VERIFY_PASSWORD": "of-verify", "PATH": os.environ["PATH"]}
    script = script.replace("/run/secrets/databases", str(RUN / "secrets/databases"))
    subprocess.run(["bash", "-c", script], env=variables, check=True, stdout=subprocess.DEVNULL, timeout=WAIT_TIMEOUT)


def mount_secrets(deployment):
    """Its secrets in files, as CloudNativePG and Strimzi write them."""
    service, folder = name(deployment), RUN / "secrets" / name(deployment)
    folder.mkdir()
    made = {
        "uri": f"postgresql://{service}:of%2F{service}@{POSTGRES.hostname}:{POSTGRES.port}/tidings_{service}",
        "ca.crt": (RUN / "certificates/ca.crt").read_text(),
        "password": f"password-of-{service}",
        "url": "",
    }
    for source in at(pod(deployment), "volumes.0.projected.sources"):
        for item in source["secret"]["items"]:
            (folder / item["path"]).write_text(made[item["key"]])


def authorities():
    """The certificates that Strimzi's Secret has while the authority is replaced: `ca.crt` is the next one, brokers have the last one."""
    folder = RUN / "secrets" / "kafka-ca"
    folder.mkdir()
    (folder / "ca.crt").write_text((RUN / "certificates/next.crt").read_text())
    (folder / "ca-2026-01-01T00-00-00Z.crt").write_text((RUN / "certificates/ca.crt").read_text())
    (folder / "ca.password").write_text("of-the-trust-store")


def started_as_in_production(deployment, container, port, **others):
    """A container's process, in its own environment but for this machine's addresses in place of the cluster's."""
    service, folder = name(deployment), RUN / "secrets" / name(deployment)
    moved = {MOUNT: str(folder), KAFKA_CA: str(RUN / "secrets" / "kafka-ca")}
    variables = environment(OVERLAY, deployment, container)
    for there, where in moved.items():
        variables = {key: value.replace(there, where) for key, value in variables.items()}
    variables |= {"TIDINGS_KAFKA__BOOTSTRAP_SERVERS": BROKER, "TIDINGS_REGISTRY__URL": REGISTRY}
    variables |= {"TIDINGS_HTTP__LISTEN": f"0.0.0.0:{port}", "TIDINGS_TELEMETRY__OTLP_ENDPOINT": ""} | others
    with open(RUN / f"{service}-{container['name']}.log", "a", encoding="utf-8") as log:
        return subprocess.Popen([BINARIES / service, *container.get("args", [])], env=variables, stdout=log, stderr=log)


def ask(address, body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"} | headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()
    except OSError as error:
        return 0, str(error)


def eventually(question, holds):
    """The last answer to a question that is asked until it holds, and whether it does."""
    deadline = time.monotonic() + WAIT_TIMEOUT
    while not holds(answer := question()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return answer, holds(answer)


def succeeds(answer):
    return 200 <= answer[0] < 300


def verify():
    """The overlay's job, with this machine's addresses in place of the cluster's: a role and a user that may only read."""
    job, folder = OVERLAY.get("Job", "verify"), RUN / "secrets" / "verify"
    folder.mkdir()
    made = {"password": "password-of-verify", "ca.crt": (RUN / "certificates/ca.crt").read_text()}
    for source in at(pod(job), "volumes.1.projected.sources"):
        for item in source["secret"]["items"]:
            (folder / item["path"]).write_text(made[item["key"]])
    here = {
        "/run/secrets/verify": str(folder),
        KAFKA_CA: str(RUN / "secrets" / "kafka-ca"),
        "/etc/tidings": str(folder),
        "{service}-database-rw:5432": f"{POSTGRES.hostname}:{POSTGRES.port}",
        "tidings-kafka-bootstrap:9093": BROKER,
        "http://registry:8080/apis/ccompat/v7": REGISTRY,
    }

    def moved(text):
        for there, where in here.items():
            text = text.replace(there, where)
        return text

    for file, text in OVERLAY.get("ConfigMap", "verify")["data"].items():
        (folder / file).write_text(moved(text))
    arguments = [moved(argument) for argument in containers(job)[0]["args"]]
    command = [BINARIES / "tidings", *arguments, "--wait"]
    password = {"PGPASSWORD": "of-verify"}
    return subprocess.run(command, env=password, capture_output=True, text=True, timeout=2 * WAIT_TIMEOUT, check=False)


def reserved_port():
    """A socket that keeps its port for a service: Linux gives a bound port to nobody who takes any, but as long as its holder does not
    listen, to whoever names it and sets SO_REUSEADDR, as servers do."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("0.0.0.0", 0))
    return holder


def rehearse(running):
    ports = {service: reserved_port() for service in SERVICES}
    at_port = {service: f"http://127.0.0.1:{holder.getsockname()[1]}" for service, holder in ports.items()}
    for deployment in OVERLAY.services():
        service = name(deployment)
        first, main = containers(deployment)
        mount_secrets(deployment)
        port = urlsplit(at_port[service]).port
        migrations = [started_as_in_production(deployment, first, port) for _ in range(3)]
        codes = [process.wait(WAIT_TIMEOUT) for process in migrations]
        check(f"{service}: three migrations at once take turns", any(codes) and f"they ended with {codes}: see {RUN}")
        running[service] = started_as_in_production(deployment, main, port)
    for service, address in at_port.items():
        answer, holds = eventually(lambda address=address: ask(f"{address}/health/ready"), lambda answer: answer[0] == 200)
        check(f"{service} is ready", None if holds else answer[1])

    key = {"Idempotency-Key": "rehearsal"}
    question = lambda: ask(f"{at_port['inventory']}/stock/TEAPOT/replenishments", {"quantity": 10}, **key)  # noqa: E731
    (_, answer), holds = eventually(question, succeeds)
    check("teapots are replenished", None if holds else answer)
    item = {"sku": "TEAPOT", "quantity": 1, "unit_price_minor": 2450}
    order = {"customer_id": "c-1", "currency": "EUR", "payment_method": "tok_visa", "lines": [item]}
    question = lambda: ask(f"{at_port['order']}/orders", order, Prefer="wait=20", **key)  # noqa: E731
    (_, answer), holds = eventually(question, succeeds)
    if holds:
        address = f"{at_port['order']}/orders/{json.loads(answer)['order_id']}"
        answer, _ = eventually(lambda: ask(address)[1], lambda answer: '"status":"confirmed"' in answer)
    check("an order is confirmed", None if '"status":"confirmed"' in answer else answer)

    # While one is under way, asking again gives that one.
    (_, answer), holds = eventually(lambda: ask(f"{at_port['analytics']}/analytics/rebuilds", {}), succeeds)
    generation = json.loads(answer).get("generation") if holds else None
    question = lambda: ask(f"{at_port['analytics']}/analytics/rebuilds/{generation}")[1]  # noqa: E731
    answer, _ = eventually(question, lambda answer: re.search('"state":"(live|failed)"', answer))
    check("the read models are rebuilt, in a group of their own", None if '"state":"live"' in answer else answer)

    verdict = verify()
    check("all guarantees hold, as one sees who may only read", verdict.returncode and verdict.stdout + verdict.stderr)

    for service in SERVICES:
        seen = as_user("keda", "consumer.group.ConsumerGroupCommand", "--describe", "--group", f"tidings.{service}")
        check(f"the scaler sees the lag of {service}", None if re.search(rf"tidings\.{service}\s+tidings\.", seen) else seen)
    seen = as_user("notification", "ConsoleProducer", "--topic", "tidings.orders", stdin="forged\n")
    check("nobody writes another's topic", None if "TopicAuthorizationException" in seen else seen)
    seen = as_user("inventory", "consumer.ConsoleConsumer", "--topic", "tidings.payments", "--timeout-ms", "60000")
    check("nobody reads what does not concern it", None if "AuthorizationException" in seen else seen)

    stranger = str(RUN / "certificates/server.crt")
    wary = started_as_in_production(deployment, first, 0, PGSSLROOTCERT=stranger, TIDINGS_LIFECYCLE__START_TIMEOUT_MS="1000")
    check("a database without a certificate of its authority is not trusted", None if wary.wait(WAIT_TIMEOUT) else "it was")

    for process in running.values():
        process.send_signal(signal.SIGTERM)
    codes = {service: process.wait(40) for service, process in running.items()}
    check("all end when they are asked to, in time", any(codes.values()) and f"they ended with {codes}")


def main():
    (RUN / "secrets").mkdir(mode=0o700)
    authorities()
    prepare_broker()
    prepare_databases()
    running = {}
    try:
        rehearse(running)
    finally:
        for process in running.values():
            if process.poll() is None:
                process.kill()
    failed = outcomes.count(False)
    print(f"test result: {'FAILED' if failed else 'ok'}. {outcomes.count(True)} passed; {failed} failed; production's settings rehearsed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
