// Submits one job: submit BOOTSTRAP TOPIC SUBMISSION_ID JOB_TYPE PAYLOAD
//
// BOOTSTRAP is host:port with commas between, PAYLOAD a JSON object. Exit code 0: Kafka has stored the submission.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

type submission struct {
	JobType      string          `json:"job_type"`
	Payload      json.RawMessage `json:"payload"`
	SubmissionID string          `json:"submission_id"`
}

func main() {
	if len(os.Args) != 6 {
		fmt.Fprintln(os.Stderr, "usage: submit BOOTSTRAP TOPIC SUBMISSION_ID JOB_TYPE PAYLOAD")
		os.Exit(2)
	}
	place, err := submit(os.Args[1], os.Args[2], submission{os.Args[4], json.RawMessage(os.Args[5]), os.Args[3]})
	if err != nil {
		fmt.Fprintln(os.Stderr, "submit:", err)
		os.Exit(1)
	}
	fmt.Println(place)
}

// submit returns where the submission is stored: topic-partition-offset. The client is idempotent, and waits for all
// replicas; the same id again makes no second job, so that trying again after an error is safe.
func submit(bootstrap, topic string, what submission) (string, error) {
	value, err := json.Marshal(what)
	if err != nil {
		return "", fmt.Errorf("the payload is no JSON: %w", err)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(bootstrap, ",")...),
		kgo.ClientID("submit-go"),
		kgo.RecordDeliveryTimeout(15*time.Second),
	)
	if err != nil {
		return "", err
	}
	defer client.Close()
	record := &kgo.Record{Topic: topic, Key: []byte(what.SubmissionID), Value: value}
	stored, err := client.ProduceSync(context.Background(), record).First()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s-%d-%d", stored.Topic, stored.Partition, stored.Offset), nil
}
