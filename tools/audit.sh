#!/usr/bin/env bash
# Asks cargo-deny about licences, sources, banned dependencies and known vulnerabilities:
#
#   audit.sh                by RustSec's advisories of today, fetched from their repository on GitHub
#   audit.sh --recorded     by those that stand in tools/advisories.tsv, where that repository can't be reached
#   audit.sh --record DIR   writes tools/advisories.tsv anew from a clone of that repository (needs Python 3.11)
#
# First it makes sure that a vulnerability would be seen. cargo-deny is built once, under target/components.
set -euo pipefail

version=0.20.2
repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
recorded="$repository/tools/advisories.tsv"
root="${TIDINGS_COMPONENTS:-$repository/target/components}/cargo-deny-$version"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# Advisories as lines of id, crate, date, kind, patched and unaffected versions; title and description are at rustsec.org.
record() {
    git -C "$1" rev-parse --verify --quiet HEAD:crates >/dev/null || fail "$1 is no clone of github.com/RustSec/advisory-db"
    git -C "$1" archive HEAD crates | tar -x -C "$work"
    {
        echo "# RustSec's advisories (public domain, https://rustsec.org) of $(git -C "$1" log -1 --format=%cs). tools/audit.sh --record writes them anew."
        python3 - "$work/crates" <<'PYTHON'
import json, pathlib, sys, tomllib

for path in sorted(pathlib.Path(sys.argv[1]).glob("*/RUSTSEC-*.md")):
    front = tomllib.loads(path.read_text().split("```toml")[1].split("```")[0])
    told, versions = front["advisory"], front.get("versions", {})
    if "withdrawn" not in told:
        ranges = [json.dumps(versions.get(kind, [])) for kind in ("patched", "unaffected")]
        print(told["id"], told["package"], told["date"], told.get("informational", "-"), *ranges, sep="\t")
PYTHON
    } >"$work/advisories.tsv"
    mv "$work/advisories.tsv" "$recorded"
    echo "$recorded holds $(grep -vc '^#' "$recorded") advisories"
}

# A database of RustSec's form from such lines, as the git repository that cargo-deny wants.
database() {
    local folder="$1" id package date kind patched unaffected
    while IFS=$'\t' read -r id package date kind patched unaffected; do
        mkdir -p "$folder/crates/$package"
        {
            printf '```toml\n[advisory]\nid = "%s"\npackage = "%s"\ndate = "%s"\n' "$id" "$package" "$date"
            printf 'url = "https://rustsec.org/advisories/%s"\n' "$id"
            [ "$kind" = - ] || printf 'informational = "%s"\n' "$kind"
            printf '[versions]\npatched = %s\nunaffected = %s\n```\n\n# %s\n' "$patched" "$unaffected" "$id"
        } >"$folder/crates/$package/$id.md"
    done < <(grep -v '^#')
    git -C "$folder" init --quiet --initial-branch=main
    git -C "$folder" add --all
    git -C "$folder" -c user.name=tidings -c user.email=tidings@localhost commit --quiet --message "Advisories"
}

# cargo-deny with the database in folder $1 in place of RustSec's, then its arguments: git is told where that is.
deny_by() {
    local folder="$1"
    shift
    sed "s|^\[advisories\]$|&\ngit-fetch-with-cli = true\ndb-path = \"$folder.fetched\"|" "$repository/deny.toml" >"$folder.toml"
    GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="url.file://$folder.insteadOf" GIT_CONFIG_VALUE_0=https://github.com/RustSec/advisory-db \
        "$root/bin/cargo-deny" --locked --config "$folder.toml" check "$@"
}

# A check that can't fail tells nothing: a vulnerability of something that we do use must be refused.
sees_vulnerabilities() {
    mkdir "$work/invented"
    printf 'RUSTSEC-2026-9999\ttokio\t2026-01-01\t-\t[]\t[]\n' | database "$work/invented"
    if deny_by "$work/invented" advisories >"$work/invented.log" 2>&1 || ! grep -q RUSTSEC-2026-9999 "$work/invented.log"; then
        cat "$work/invented.log" >&2
        fail "an invented vulnerability of tokio was not refused"
    fi
}

build_cargo_deny() {
    [ ! -x "$root/bin/cargo-deny" ] || return 0
    echo "building cargo-deny $version: some minutes, once" >&2
    # Not optimised: it runs for seconds.
    CARGO_PROFILE_DEV_DEBUG=false CARGO_INCREMENTAL=0 \
        cargo install --debug --locked --quiet --root "$root" --target-dir "$root/target" "cargo-deny@$version"
    rm -rf "$root/target"
}

cd "$repository"
case "${1:-}" in
    --record)
        record "${2:?the folder of a clone of github.com/RustSec/advisory-db}"
        ;;
    --recorded)
        build_cargo_deny
        sees_vulnerabilities
        head -n 1 "$recorded" >&2
        mkdir "$work/recorded"
        database "$work/recorded" <"$recorded"
        # Whoever takes a crate back today does not change what was decided on the day of the record.
        deny_by "$work/recorded" --warn yanked
        ;;
    "")
        build_cargo_deny
        sees_vulnerabilities
        "$root/bin/cargo-deny" --locked check
        ;;
    *) fail "audit.sh [--recorded | --record DIR]" ;;
esac
