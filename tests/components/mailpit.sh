#!/usr/bin/env bash
# Mailpit, for machines that can't pull its image.
#
#   mailpit.sh provide   prints the path of its program
#
# It is built once, from the module that mailpit/go.mod names, and kept in TIDINGS_COMPONENTS (default target/components).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

provide() {
    local program
    program="$components/mailpit-$(module_version "$here/mailpit")"
    go_program "$program" "$here/mailpit" github.com/axllent/mailpit
    echo "$program"
}

case "${1:-}" in
provide) "$@" ;;
*) fail "usage: mailpit.sh provide" ;;
esac
