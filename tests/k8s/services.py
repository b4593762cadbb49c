"""Asks the services what they make of the environment that a manifest gives them."""

import os
import re
import subprocess
import tempfile
import tomllib
from functools import cache
from pathlib import Path

from manifests import at, pod_labels

ROOT = Path(__file__).resolve().parents[2]
BINARIES = Path(os.environ.get("TIDINGS_BINARIES", ROOT / "target/debug"))
# Where secrets are mounted.
MOUNT = "/run/secrets/tidings"


def environment(overlay, workload, container):
    """A container's variables, as its process finds them."""
    found = {}
    for source in container.get("envFrom", []):
        found |= overlay.get("ConfigMap", source["configMapRef"]["name"])["data"]
    for variable in container.get("env", []):
        field = at(variable, "valueFrom.fieldRef.fieldPath")
        label = re.fullmatch(r"metadata\.labels\['(.*)'\]", field or "")
        found[variable["name"]] = pod_labels(workload)[label[1]] if label else variable["value"]
    return found


@cache
def settings(service):
    answer = print_config(service, {})
    if answer.returncode != 0:
        raise SystemExit(f"{service} --print-config: {answer.stderr}")
    return tomllib.loads(answer.stdout)


def print_config(service, variables):
    binary = BINARIES / service
    if not binary.is_file():
        raise SystemExit(f"{binary} is missing: make build")
    with tempfile.TemporaryDirectory() as folder:
        for key, value in variables.items():
            if key.endswith("_FILE") and value.startswith(f"{MOUNT}/"):
                file = Path(folder, Path(value).name)
                file.write_text("secret\n")
                variables = variables | {key: str(file)}
        return subprocess.run(
            [binary, "--print-config"], env=variables, cwd=folder, capture_output=True, text=True, timeout=30, check=False
        )
