# Containers killed, stopped, started in the wrong order, doubled. Sourced by bash.

# One number out of order's database.
count() { c exec -T postgres psql --no-psqlrc --quiet --tuples-only --no-align postgres://order:order@127.0.0.1/tidings_order --command "SELECT count(*) FROM $1"; }

orders_are_open() { [ "$(count deadlines)" -gt 0 ]; }

is_gone() { [ -z "$(c ps --quiet "$1")" ]; }

has_accepted() { [ "$(count orders)" -ge "$1" ]; }

# While it is away, orders go on being accepted, unless it is what accepts and keeps them.
kill_and_start() {
    local accepted
    within 60 orders_are_open && accepted="$(count orders)" && c kill --signal KILL "$1" && within 30 is_gone "$1" || return 1
    case $1 in
        order | postgres) ;;
        *) within 120 has_accepted $((accepted + 20)) || return 1 ;;
    esac
    c start "$1" && within 120 is_healthy "$1"
}

# SIGTERM reaches the program, which ends by itself, with 0. When the grace is over that docker-compose.yml gives a service, the engine
# kills it, and the code is 137.
ends_by_itself() {
    local container
    container="$(c ps --quiet "$1")"
    c stop --timeout 30 "$1" && [ "$("$docker" inspect --format '{{.State.ExitCode}}' "$container")" = 0 ]
}

load_has_run() { c logs load | grep -E '[1-9][0-9]* orders accepted'; }

check_killing() {
    local victim
    LOAD_RATE=20 must "a load of orders starts" c --profile load up --detach --no-build load
    for victim in payment order kafka postgres registry; do
        check "$victim, killed while orders are open, comes back" kill_and_start "$victim"
    done
    check "the services are ready again" within 120 all_healthy
    # Longer than a member may stay out of its group before it is replaced.
    check "orders are confirmed again" within 180 confirmed
    check "the load ends by itself on SIGTERM" ends_by_itself load
    check "the load placed orders" load_has_run
    check "all guarantees hold after that" verify
    for victim in "${services[@]}"; do
        check "$victim ends with 0 on SIGTERM, within its grace" ends_by_itself "$victim"
    done
}

all_healthy() {
    local service
    for service in "${services[@]}"; do is_healthy "$service" || return 1; done
}

waits_visibly() { c logs "$1" 2>&1 | grep 'waiting for the '; }

# Everything goes, except the volumes. Then the services come first, and what they need later.
check_coming_back() {
    local service
    must "everything goes down" c down --timeout 60
    must "the services start alone" c up --detach --no-build --no-deps "${services[@]}"
    for service in "${services[@]}"; do
        check "$service says what it waits for" within 30 waits_visibly "$service"
    done
    must "everything comes up" c up --detach --no-build --wait --wait-timeout 240
    check "an order of before is there" order_is_kept
    check "orders are confirmed" within 180 confirmed
    check "all guarantees hold after down and up" verify
}

works_too() { get_inside "$1" 8080 /metrics | grep -E '^inbox_partitions\{[^}]*state="running"[^}]*\} [1-9]'; }

check_scale() {
    local service
    must "two of each service come up" c --profile scale up --detach --no-build --wait --wait-timeout 240
    for service in "${services[@]}"; do
        check "the second $service has partitions of its own" within 180 works_too "$service-2"
    done
    check "orders are confirmed by two of each" within 180 confirmed
    check "the second order, killed, is not missed" c kill --signal KILL order-2
    check "orders are confirmed without it" within 180 confirmed
    check "all guarantees hold with two of each" verify
}
