"""Makes definitions of custom resources from the validators of npm packages, which were generated from the operators' definitions.

    models.py LIST PACKED INTO    what LIST (models.txt) names, from the packages in PACKED, as definitions in INTO

A validator is a function for each part of a schema, and each says, beside what it checks, what the schema had there. All of that is
read; what this does not know ends it. Not in the validators, and so not checked: rules in CEL, defaults, keys of lists, and which
objects may hold anything; one of which no field is known is taken to be such. The status is left out, for no manifest sets it.
"""

import base64
import hashlib
import json
import posixpath
import re
import sys
import tarfile
from pathlib import Path

OPEN = {"x-kubernetes-preserve-unknown-fields": True}
FUNCTION = re.compile(r"function (validate\d+)\(data,\{[^{}]*\}=\{\}\)\{")
IMPORT = re.compile(r'import\{validate(?: as (validate\d+))?\}from"([^"]+)"')
EXPORT = re.compile(r"export const validate=(validate\d+);")
CHOICES = re.compile(r"let (schema\d+_enum)=(\[.*?\]);")
# What a validator says of its own value: a keyword with its parameter, or another validator for the value or a part of it.
KEYWORD = re.compile(r'keyword:"(\w+)",params:\{((?:"(?:[^"\\]|\\.)*"|[^{}"])*)\}')
CALL = re.compile(r'(validate\d+)\(data(?:\.([\w$]+)|\["((?:[^"\\]|\\.)*)"\]|\[(i\d+|key\d+)\])?,\{')
LIMITS = {"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}


class Package:
    """An npm package, of which the files are read without unpacking it."""

    def __init__(self, name, path, integrity):
        self.name = name
        algorithm, _, sum_ = integrity.partition("-")
        found = base64.b64encode(hashlib.new(algorithm, path.read_bytes()).digest()).decode()
        if found != sum_:
            raise SystemExit(f"{path.name} has the checksum {algorithm}-{found}, and models.txt says {integrity}")
        with tarfile.open(path) as archive:
            self.files = {
                entry.name.removeprefix("package/"): archive.extractfile(entry).read().decode()
                for entry in archive
                if entry.isfile() and entry.name.endswith(".js")
            }
        self.modules = {}

    def module(self, path):
        if path not in self.modules:
            if path not in self.files:
                raise SystemExit(f"{self.name} has no {path}")
            self.modules[path] = Module(self, path)
        return self.modules[path]


class Module:
    """A file of validators."""

    def __init__(self, package, path):
        self.package, self.path = package, path
        source = package.files[path]
        heads = list(FUNCTION.finditer(source))
        ends = [head.start() for head in heads[1:]] + [len(source)]
        # Between a function's end and the next may stand what belongs to none.
        self.functions = {
            head[1]: source[head.end() : end].rpartition(f"{head[1]}.errors=vErrors,0===errors}}")[0] for head, end in zip(heads, ends)
        }
        known = sum(body.count("keyword:") for body in self.functions.values())
        if known != source.count("keyword:"):
            raise SystemExit(f"{package.name}: {path} checks something outside of the functions that were found")
        self.imports = {match[1]: match[2] for match in IMPORT.finditer(source) if match[1]}
        self.choices = {match[1]: json.loads(match[2]) for match in CHOICES.finditer(source)}
        self.exported = EXPORT.search(source)
        self.schemas = {}

    def whole(self):
        return self.schema(self.exported[1], ())

    def schema(self, name, above):
        """The schema behind a validator, which other validators may share."""
        if name in above:
            raise SystemExit(f"{self.package.name}: {self.path} describes something that contains itself")
        if name not in self.schemas:
            self.schemas[name] = self.read(name, (*above, name))
        return self.schemas[name]

    def follow(self, name, above):
        if name in self.functions:
            return self.schema(name, above)
        target = self.imports[name]
        if target.endswith("ApisMetaV1ObjectMeta"):
            return {"type": "object"}
        if not target.startswith("."):
            raise SystemExit(f"{self.package.name}: {self.path} needs {target}, which no package of models.txt has")
        return self.package.module(posixpath.normpath(posixpath.join(posixpath.dirname(self.path), target))).whole()

    def read(self, name, above):
        body = self.functions[name]
        schema, required, properties, same, alternatives = {}, [], {}, [], False
        calls = [match.groups() for match in CALL.finditer(body)]
        resource = {"apiVersion", "kind", "metadata"} <= {plain for _, plain, _, _ in calls}
        keywords = list(KEYWORD.finditer(body))
        if len(keywords) != body.count("keyword:") or len(calls) != len(re.findall(r"validate\d+\(data", body)):
            raise SystemExit(f"{self.package.name}: {self.path}: a check in {name} is not of a known form")
        for keyword, parameter in (match.groups() for match in keywords):
            value = parameter.partition(":")[2]
            if keyword == "required":
                required.append(json.loads(value))
            elif keyword == "anyOf":
                alternatives = True
            elif keyword == "enum":
                schema["enum"] = [choice for choice in self.choices[value] if choice is not None]
            elif keyword in {"type", "pattern", "format"}:
                schema[keyword] = json.loads(value)
            elif keyword in LIMITS:
                schema[keyword] = json.loads(re.search(r"limit:([-\d.e]+)", parameter)[1])
            else:
                raise SystemExit(f"{self.package.name}: {self.path}: {name} checks {keyword}, which is not known here")
        for function, plain, quoted, element in calls:
            if plain is None and quoted is None and element is None:
                same.append(self.follow(function, above))
            elif element is not None:
                schema["items" if element.startswith("i") else "additionalProperties"] = self.follow(function, above)
            elif not (plain == "status" and resource):
                properties[plain or json.loads(f'"{quoted}"')] = self.follow(function, above)
        if alternatives:
            if sorted(str(one.get("type")) for one in same) != ["integer", "string"]:
                raise SystemExit(f"{self.package.name}: {self.path}: {name} takes alternatives that are not a number or a text")
            schema["x-kubernetes-int-or-string"] = True
        else:
            for one in same:
                for key, value in one.items():
                    if schema.setdefault(key, value) != value:
                        raise SystemExit(f"{self.package.name}: {self.path}: {name} has two schemas for one value")
        if required or properties:
            schema["properties"] = {**dict.fromkeys(required, OPEN), **properties}
        if required:
            schema["required"] = required
        if schema.get("type") == "array":
            schema.setdefault("items", OPEN)
        empty = schema.get("type") == "object" and not {"properties", "additionalProperties"} & schema.keys()
        if empty or not {"type", "x-kubernetes-int-or-string"} & schema.keys():
            schema.update(OPEN)
        return schema


def definition(group, version, kind, schema):
    """The definition of one kind, as the API server takes it."""
    plural = kind.lower() + "s"
    # What all resources have in common, the API server checks itself.
    common = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
    schema = {**schema, "properties": {**schema["properties"], **common}}
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    versions = [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": versions},
    }


def object_store(cluster):
    """Of the Barman Cloud plugin's ObjectStore no registry has a definition. Its configuration and its retention are, field for field,
    what the operator's own Cluster still has for backups without the plugin; of the rest nothing is checked."""
    backup = cluster["properties"]["spec"]["properties"]["backup"]["properties"]
    spec = {
        "type": "object",
        "required": ["configuration"],
        "properties": {"configuration": backup["barmanObjectStore"], "retentionPolicy": backup["retentionPolicy"]},
        **OPEN,
    }
    schema = {"type": "object", "required": ["spec"], "properties": {"spec": spec}, "description": "NOT the plugin's own definition."}
    return definition("barmancloud.cnpg.io", "v1", "ObjectStore", schema)


def main(listed, packed, into):
    schemas = {}
    for line in Path(listed).read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        name, release, integrity, version, *kinds = line.split()
        archive = Path(packed) / f"{name.removeprefix('@').replace('/', '-')}-{release}.tgz"
        package = Package(f"{name} {release}", archive, integrity)
        for kind in kinds:
            model = package.files.get(f"{version}/{kind}.js")
            if model is None:
                raise SystemExit(f"{package.name} has no {kind} of {version}")
            validator = posixpath.normpath(posixpath.join(version, IMPORT.search(model)[2]))
            schemas[kind] = package.module(validator).whole()
            made = definition(*version.split("/"), kind, schemas[kind])
            (Path(into) / f"{made['metadata']['name']}.json").write_text(json.dumps(made, indent=1))
    made = object_store(schemas["Cluster"])
    (Path(into) / f"not-the-operators-{made['metadata']['name']}.json").write_text(json.dumps(made, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
