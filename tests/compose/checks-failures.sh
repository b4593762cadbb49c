# Containers killed, stopped, started in the wrong order, doubled. Sourced by bash.

kill_and_start() {
    c kill --signal KILL "$1" && sleep 2 && c start "$1" && within 120 is_healthy "$1"
}

# SIGTERM reaches the program, which ends by itself, with 0, within its grace.
ends_by_itself() {
    local container started=$SECONDS
    container="$(c ps --quiet "$1")"
    c stop --timeout 60 "$1" && [ "$("$docker" inspect --format '{{.State.ExitCode}}' "$container")" = 0 ] && [ $((SECONDS - started)) -le 22 ]
}

load_has_run() { c logs load | grep -E '[1-9][0-9]* orders accepted'; }

check_killing() {
    local victim
    must "a load of orders starts" c --profile load up --detach --no-build load
    sleep 3
    for victim in payment order kafka postgres registry; do
        check "$victim, killed while orders are open, comes back" kill_and_start "$victim"
    done
    check "the services are ready again" within 120 all_healthy
    check "orders are confirmed again" within 60 confirmed
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

waits_visibly() { c logs "$1" 2>&1 | grep -iE 'wait|retry|not there|again'; }

# Everything goes, except the volumes. Then the services come first, and what they need later.
check_coming_back() {
    must "everything goes down" c down --timeout 60
    must "the services start alone" c up --detach --no-build --no-deps "${services[@]}"
    check "order says that it waits" within 20 waits_visibly order
    sleep 5
    must "everything comes up" c up --detach --no-build --wait --wait-timeout 240
    check "an order of before is there" order_is_kept
    check "orders are confirmed" within 60 confirmed
    check "all guarantees hold after down and up" verify
}

works_too() { get_inside "$1" 8080 /metrics | grep -E '^inbox_partitions\{[^}]*state="running"[^}]*\} [1-9]'; }

check_scale() {
    local service
    must "two of each service come up" c --profile scale up --detach --no-build --wait --wait-timeout 240
    for service in "${services[@]}"; do
        check "the second $service has partitions of its own" within 60 works_too "$service-2"
    done
    check "orders are confirmed by two of each" within 60 confirmed
    check "the second order, killed, is not missed" c kill --signal KILL order-2
    check "orders are confirmed without it" within 60 confirmed
    check "all guarantees hold with two of each" verify
}
