# What the steps of the Compose test share: Compose under a project of its own, checks that count, bounded waiting,
# requests. Sourced by bash, after engine.sh.

project=tidings-test
services=(order inventory payment notification analytics)
binaries=("${services[@]}" tidings)
passed=0
failures=() # what failed, each with the last line of what it wrote

# Compose on the project's file, with free ports, so that it stands beside a system that runs already.
c() { "${compose[@]}" --progress quiet --project-name "$project" --project-directory "$repository" "$@"; }

choose_ports() {
    local name taken=()
    for name in ORDER INVENTORY PAYMENT NOTIFICATION ANALYTICS REGISTRY POSTGRES KAFKA JAEGER MAILPIT PROMETHEUS GRAFANA; do
        taken+=("$(free_port "${taken[@]}")")
        export "${name}_PORT=${taken[-1]}"
    done
}

# With chance taken out, one port is all that can be drawn: it is, but not when it is taken.
ports_are_drawn_once() (
    port="$(free_port)"
    unset RANDOM
    RANDOM=$((port - 20000))
    [ "$(free_port 1)" = "$port" ] && ! (free_port "$port" 1)
)

# Says what is checked, runs it, counts it. What it writes is shown when it fails.
check() {
    local what="$1" started=$SECONDS
    shift
    if "$@" >"$work/check.log" 2>&1; then
        passed=$((passed + 1))
        say "ok    $what ($((SECONDS - started)) s)"
    else
        failures+=("$what ($((SECONDS - started)) s): $(awk 'NF { last = $0 } END { print last }' "$work/check.log")")
        say "FAILED $what ($((SECONDS - started)) s): $*"
        tail -n 40 "$work/check.log" >&2
    fi
}

# Like check, for what the rest can't do without: ends the run with what the script's own show_state shows.
must() {
    local before=${#failures[@]}
    check "$@"
    if [ ${#failures[@]} -gt "$before" ]; then
        show_state >&2 || true
        exit 1
    fi
}

# The last lines of a run that ended with status $1: what failed, and the result.
conclude() {
    if [ ${#failures[@]} -eq 0 ] && [ "$1" -ne 0 ]; then failures+=("it ended early, with exit code $1"); fi
    if [ ${#failures[@]} -eq 0 ]; then
        echo "test result: ok. $passed passed; 0 failed; in $SECONDS s"
    else
        printf 'FAILED %s\n' "${failures[@]}"
        echo "test result: FAILED. $passed passed; ${#failures[@]} failed; in $SECONDS s"
        exit 1
    fi
}

fails() { ! "$@"; }

# Repeats a command until it succeeds, for at most $1 seconds.
within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.5
    done
}

get() { curl --silent --show-error --fail --max-time 20 "$@"; }

# A GET from inside the network, where some ports are only open: host, port, path.
get_inside() {
    c exec -T kafka bash -c "exec 3<>/dev/tcp/$1/$2 && printf 'GET $3 HTTP/1.0\r\nHost: $1\r\n\r\n' >&3 && timeout 10 cat <&3"
}

# A field of a flat JSON answer, by name: enough for ours.
field() { grep -o "\"$1\" *: *\"[^\"]*\"" | head -n 1 | sed -E 's/.*: *"([^"]*)"/\1/'; }

replenish() {
    get "http://127.0.0.1:$INVENTORY_PORT/stock/TEAPOT/replenishments" --header 'Content-Type: application/json' \
        --header "Idempotency-Key: replenish-$RANDOM-$RANDOM" --data "{\"quantity\": $1}"
}

# Places an order of one teapot and prints the answer, which waits for the order's end for 10 seconds.
place() {
    get "http://127.0.0.1:$ORDER_PORT/orders" --header 'Content-Type: application/json' --header 'Prefer: wait=10' \
        --header "Idempotency-Key: order-$RANDOM-$RANDOM-$RANDOM" --data '{
            "customer_id": "c-1", "currency": "EUR", "payment_method": "tok_visa",
            "lines": [{"sku": "TEAPOT", "quantity": 1, "unit_price_minor": 2450}],
            "recipient": {"name": "Ada Example", "email": "ada@example.com", "address":
                {"street": "1 Example Street", "city": "Example", "postal_code": "EX1 1EX", "country": "GB"}}}'
}

is_confirmed() { grep -q '"status" *: *"confirmed"'; }

confirmed() { place | is_confirmed; }

# Places an order that is confirmed, for those who ask about one later. Each try is an order of its own.
placed() {
    local answer
    answer="$(place)" && is_confirmed <<<"$answer" && order_id="$(field order_id <<<"$answer")" && trace_id="$(field trace_id <<<"$answer")"
}

verify() { c run --rm --no-deps -T verify --wait --timeout 120; }

is_healthy() { [ "$("$docker" inspect --format '{{.State.Health.Status}}' "$(c ps --all --quiet "$1")")" = healthy ]; }
