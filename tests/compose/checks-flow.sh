# What a person sees who follows the README: an order, its mail, its trace; and how the containers are contained.
# Sourced by bash.

# Every published port of the project is one of the loopback interface.
ports_are_local() {
    local addresses
    addresses="$(c ps --quiet | xargs "$docker" inspect --format '{{range .NetworkSettings.Ports}}{{range .}}{{.HostIp}}{{println}}{{end}}{{end}}' | sort -u | grep .)"
    [ "$addresses" = 127.0.0.1 ]
}

is_contained() {
    [ "$("$docker" inspect --format '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}}' "$(c ps --quiet "$1")")" \
        = 'true [ALL] [no-new-privileges:true]' ]
}

topics_are_made() {
    local described
    described="$(c exec -T kafka /opt/kafka/bin/kafka-topics.sh --bootstrap-server kafka:19092 --describe)"
    for topic in orders reservations payments stock; do
        grep "Topic: tidings.$topic\b.*PartitionCount: 6\b.*retention.ms=-1\b" <<<"$described" || return 1
    done
}

# As role $1 with its password, in database $2, run $3.
as_role() { c exec -T postgres psql --no-psqlrc --quiet "postgres://$1:$1@127.0.0.1/$2" --command "$3"; }

trace_of() { get "http://127.0.0.1:$JAEGER_PORT/api/traces/$1"; }

trace_is_complete() {
    local service
    trace_of "$trace_id" >"$work/trace.json" || return 1
    for service in "${services[@]}"; do
        grep -q "\"serviceName\" *: *\"$service\"" "$work/trace.json" || return 1
    done
}

tidings_shows_the_trace() {
    c run --rm --no-deps -T --entrypoint /usr/local/bin/tidings verify \
        trace "$order_id" --url http://order:8080 --jaeger http://jaeger:16686 --wait 30
}

mail_arrived() { get "http://127.0.0.1:$MAILPIT_PORT/api/v1/messages" | grep -q 'ada@example.com'; }

order_is_kept() { get "http://127.0.0.1:$ORDER_PORT/orders/$order_id" | is_confirmed; }

check_flow() {
    local service
    check "teapots are replenished through the published port" within 60 replenish 1000
    # The first event on new topics waits for every group's first assignment.
    must "an order placed through the published port is confirmed" within 180 confirmed
    must "another one is, too" within 180 placed
    check "its trace in Jaeger goes through all five services" within 180 trace_is_complete
    check "tidings trace, in a container, finds it complete" tidings_shows_the_trace
    check "its mail is in Mailpit" within 180 mail_arrived
    check "the topics have six partitions and keep everything" topics_are_made
    check "ports are published on the loopback interface only" ports_are_local
    for service in "${services[@]}"; do
        check "$service has a read-only root and no capabilities" is_contained "$service"
    done
    check "a service's role can use its database" as_role order tidings_order 'SELECT count(*) FROM outbox.messages'
    check "a service's role can't enter another's database" fails as_role order tidings_payment 'SELECT 1'
    check "the verifying role can read" as_role verify tidings_order 'SELECT count(*) FROM outbox.messages'
    check "the verifying role can't write" fails as_role verify tidings_order \
        'SET default_transaction_read_only = off; UPDATE outbox.messages SET finished_at = NULL'
    check "the verifying role can't drop messages" fails as_role verify tidings_order \
        "SET default_transaction_read_only = off; SELECT outbox.drop_table_partition('0')"
    check "tidings verify says that all guarantees hold" verify
}
