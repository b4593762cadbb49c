#!/usr/bin/env python3
"""Holds the rules of rules.py against the overlays, and against what breaks them.

    policies.py FOLDER     FOLDER holds local.yaml and production.yaml, as `kubectl kustomize` printed them

The last line counts; ends with 1 when anything failed.
"""

import sys
from pathlib import Path

import rules
from manifests import Overlay, read, title

FOLDER = Path(sys.argv[1])


def broken(overlay, change):
    """The overlay with one value changed, or taken away."""
    overlay = overlay.copy()
    thing = overlay.get(*change["object"].split("/"))
    *steps, last = path(change["path"])
    for step in steps:
        thing = thing[int(step)] if isinstance(thing, list) else thing[step]
    if isinstance(thing, list):
        thing[int(last) : int(last) + 1] = [change["value"]] if "value" in change else []
    elif "value" in change:
        thing[last] = change["value"]
    else:
        del thing[last]
    return overlay


def path(text):
    """The steps of a path; keys of `data` may hold dots, so what follows `data.` is one step."""
    head, found, key = text.partition("data.")
    return [step for step in head.split(".") if step] + ["data", key] if found and head == "" else text.split(".")


def main():
    overlays = {name: Overlay(name, read(FOLDER / f"{name}.yaml")) for name in ("local", "production")}
    checks = [(overlays[name], rule) for name in overlays for rule in rules.EVERYWHERE]
    checks += [(overlays["production"], rule) for rule in rules.PRODUCTION]
    passed = failed = 0
    for overlay, rule in checks:
        complaints = list(rule(overlay))
        print(f"{overlay.name}: {rule.__name__} ... {'FAILED' if complaints else 'ok'}")
        for complaint in complaints:
            print(f"    {complaint}")
        failed, passed = (failed + 1, passed) if complaints else (failed, passed + 1)

    changes = read(Path(__file__).parent / "broken.yaml")[0]
    for change in changes:
        complaints = list(getattr(rules, change["rule"])(broken(overlays["production"], change)))
        verdict = "ok" if complaints else "FAILED: nothing is found wrong with it"
        print(f"refused: {change['rule']}: {change['object']} {change['path']} ... {verdict}")
        failed, passed = (failed, passed + 1) if complaints else (failed + 1, passed)

    for rule in {rule.__name__ for _, rule in checks} - {change["rule"] for change in changes}:
        print(f"{rule} ... FAILED: nothing in broken.yaml shows that it can fail")
        failed += 1
    print(f"test result: {'FAILED' if failed else 'ok'}. {passed} passed; {failed} failed; policies of k8s/")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
