// Watermill's forwarder: publishes the messages of a table of the database DATABASE_URL to Kafka, and says how fast.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	watermillsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/components/forwarder"
	"github.com/ThreeDotsLabs/watermill/message"
	_ "github.com/lib/pq"
)

const (
	outbox = "bench_outbox"
	// Messages of one transaction that appends them.
	perTransaction = 500
	// The bytes of a value, as in the rows beside it, within the quotes of a JSON text.
	valueBytes = 300
	// How long nothing may be published before it is given up.
	stallTimeout = 60 * time.Second
)

// result is what is written to standard output.
type result struct {
	Version   string  `json:"version"`
	PerSecond float64 `json:"per_second"`
	CPUMicros float64 `json:"cpu_us"`
	RSSMB     float64 `json:"rss_mb"`
}

// counter publishes, and counts what the broker has acknowledged.
type counter struct {
	message.Publisher
	acknowledged atomic.Int64
}

func (c *counter) Publish(topic string, messages ...*message.Message) error {
	if err := c.Publisher.Publish(topic, messages...); err != nil {
		return err
	}
	c.acknowledged.Add(int64(len(messages)))
	return nil
}

func main() {
	brokers := flag.String("kafka", "", "bootstrap servers")
	topic := flag.String("topic", "", "topic to publish to")
	rows := flag.Int("rows", 20_000, "messages")
	flag.Parse()
	if err := run(os.Getenv("DATABASE_URL"), *brokers, *topic, *rows); err != nil {
		fmt.Fprintln(os.Stderr, "watermill:", err)
		os.Exit(1)
	}
}

func run(database, brokers, topic string, rows int) error {
	db, err := sql.Open("postgres", database)
	if err != nil {
		return err
	}
	defer db.Close()
	logger := watermill.NopLogger{}
	schema := watermillsql.DefaultPostgreSQLSchema{}
	if err := insert(db, schema, topic, rows); err != nil {
		return fmt.Errorf("inserting messages: %w", err)
	}
	subscriber, err := watermillsql.NewSubscriber(watermillsql.BeginnerFromStdSQL(db), watermillsql.SubscriberConfig{
		ConsumerGroup:    "bench",
		SchemaAdapter:    schema,
		OffsetsAdapter:   watermillsql.DefaultPostgreSQLOffsetsAdapter{},
		InitializeSchema: true,
	}, logger)
	if err != nil {
		return err
	}
	key := func(_ string, message *message.Message) (string, error) { return message.Metadata.Get("key"), nil }
	publisher, err := kafka.NewPublisher(kafka.PublisherConfig{
		Brokers:   strings.Split(brokers, ","),
		Marshaler: kafka.NewWithPartitioningMarshaler(key),
	}, logger)
	if err != nil {
		return err
	}
	counted := &counter{Publisher: publisher}
	relay, err := forwarder.NewForwarder(subscriber, counted, logger, forwarder.Config{ForwarderTopic: outbox})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- relay.Run(ctx) }()
	measured, err := measure(counted, int64(rows), ended)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(measured)
}

// insert appends messages, two of each key, as the forwarder's publisher does.
func insert(db *sql.DB, schema watermillsql.DefaultPostgreSQLSchema, topic string, rows int) error {
	initialize := watermillsql.PublisherConfig{SchemaAdapter: schema, AutoInitializeSchema: true}
	tables, err := watermillsql.NewPublisher(watermillsql.BeginnerFromStdSQL(db), initialize, watermill.NopLogger{})
	if err != nil {
		return err
	}
	value := []byte(`"` + strings.Repeat("v", valueBytes-2) + `"`)
	publisher := forwarder.NewPublisher(tables, forwarder.PublisherConfig{ForwarderTopic: outbox})
	for first := 0; first < rows; first += perTransaction {
		messages := make([]*message.Message, 0, perTransaction)
		for number := first; number < min(first+perTransaction, rows); number++ {
			next := message.NewMessage(watermill.NewUUID(), value)
			next.Metadata.Set("key", fmt.Sprintf("%032x", number%(rows/2)))
			messages = append(messages, next)
		}
		if err := publisher.Publish(topic, messages...); err != nil {
			return err
		}
	}
	return nil
}

// measure waits until all are published; the time runs from the first one.
func measure(counted *counter, rows int64, ended <-chan error) (result, error) {
	var first, last int64
	var since time.Time
	var cpu time.Duration
	moved := time.Now()
	for last < rows {
		select {
		case err := <-ended:
			return result{}, fmt.Errorf("the forwarder ended: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
		now := counted.acknowledged.Load()
		if now > last {
			last, moved = now, time.Now()
		}
		if first == 0 && last > 0 {
			first, since, cpu = last, moved, cpuTime()
		}
		if time.Since(moved) > stallTimeout {
			return result{}, fmt.Errorf("%d of %d messages are published, and no more for %s", last, rows, stallTimeout)
		}
	}
	published := float64(max(last-first, 1))
	return result{
		Version:   version(),
		PerSecond: published / moved.Sub(since).Seconds(),
		CPUMicros: float64((cpuTime() - cpu).Microseconds()) / published,
		RSSMB:     rss(),
	}, nil
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func rss() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(status), "\n") {
		var kilobytes float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kilobytes); err == nil {
			return kilobytes / 1024
		}
	}
	return 0
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, module := range info.Deps {
		if module.Path == "github.com/ThreeDotsLabs/watermill" {
			return strings.TrimPrefix(module.Version, "v")
		}
	}
	return "unknown"
}
