# The profile `observability`: the collector's choice of traces, Prometheus' targets and rules. Sourced by bash.

# One span as OTLP's JSON: trace id, status code, attribute's value, duration in milliseconds.
span() {
    local now
    now="$(date +%s%3N)"
    printf '{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"order"}}]},"scopeSpans":[{"spans":[{"traceId":"%s","spanId":"%s","name":"test","kind":1,"startTimeUnixNano":"%s000000","endTimeUnixNano":"%s000000","attributes":[{"key":"tidings.outcome","value":{"stringValue":"%s"}}],"status":{"code":%s}}]}]}]}' \
        "$1" "${1:16}" "$((now - $4))" "$now" "$3" "$2"
}

# Sends it to the collector, whose port is open inside only.
send() {
    local body
    body="$(span "$@")"
    c exec -T kafka timeout 10 bash -c "exec 3<>/dev/tcp/collector/4318 && printf 'POST /v1/traces HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: ${#body}\r\n\r\n' >&3 && cat >&3 && head -n 1 <&3 | grep -q ' 200'" <<<"$body"
}

trace_number() { printf '%030x%02x' "$1" "$2"; }

send_traces() {
    local number
    for number in $(seq 5); do
        within 20 send "$(trace_number 1 "$number")" 2 processed 10 && within 20 send "$(trace_number 2 "$number")" 0 dead_lettered 10 &&
            within 20 send "$(trace_number 3 "$number")" 0 processed 9000 || return 1
    done
    for number in $(seq 20); do within 20 send "$(trace_number 4 "$number")" 0 processed 10 || return 1; done
}

# How many traces of a kind Jaeger has.
kept() {
    local number count=0
    for number in $(seq "$2"); do
        if trace_of "$(trace_number "$1" "$number")" >/dev/null 2>&1; then count=$((count + 1)); fi
    done
    echo "$count"
}

kept_all() { [ "$(kept "$1" 5)" = 5 ]; }

# Asks Prometheus: path, then options of curl.
prometheus() { get "http://127.0.0.1:$PROMETHEUS_PORT/api/v1/$1" "${@:2}"; }

scrapes_all() {
    local service
    for service in "${services[@]}"; do
        prometheus query --get --data-urlencode "query=up{job=\"$service\"} == 1" | grep -q "\"job\":\"$service\"" || return 1
    done
}

check_observability() {
    local parts=(collector prometheus)
    if [ "$images" = official ]; then parts+=(grafana); fi
    export OTLP_ENDPOINT=http://collector:4318
    must "the collector and Prometheus come up" c --profile observability up --detach --no-build --wait --wait-timeout 240 "${parts[@]}"
    must "the services send to the collector" c up --detach --no-build --wait --wait-timeout 240
    check "the collector takes traces" within 30 send "$(trace_number 9 1)" 0 processed 10
    check "the collector takes many" send_traces
    check "an order is confirmed" within 180 confirmed
    # The collector decides when a trace is 30 seconds old.
    check "every trace with an error is kept" within 60 kept_all 1
    check "every trace with a dead letter is kept" within 60 kept_all 2
    check "every slow trace is kept" within 60 kept_all 3
    # All twenty would be kept by chance once in 10^20.
    check "of the others only some" [ "$(kept 4 20)" -lt 20 ]
    check "Prometheus scrapes all five services" within 60 scrapes_all
    check "Prometheus has the alert rules" eval 'prometheus rules | grep -q OutboxMessageUnpublished'
    if [ "$images" = official ]; then
        check "Grafana has the dashboards" within 60 eval 'get "http://127.0.0.1:$GRAFANA_PORT/api/search?query=" | grep -qi tidings'
    fi
    unset OTLP_ENDPOINT
}
