#!/bin/sh
# Submits one job with Kafka's console producer: submit.sh BOOTSTRAP TOPIC SUBMISSION_ID JOB_TYPE PAYLOAD
# PAYLOAD is a JSON object; id and type are taken as they are, and so must need no escape in JSON, and hold no tab.
# With a Kafka distribution, KAFKA_HOME names its folder. Else JAVA names a Java runtime, and CLASSPATH the jars.
# Exit code 0: Kafka has stored the submission.
set -eu
if [ $# -ne 5 ]; then
    echo "usage: submit.sh BOOTSTRAP TOPIC SUBMISSION_ID JOB_TYPE PAYLOAD" >&2
    exit 2
fi
console_producer() {
    if [ -n "${KAFKA_HOME:-}" ]; then
        "$KAFKA_HOME/bin/kafka-console-producer.sh" "$@"
    else
        "${JAVA:-java}" -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 org.apache.kafka.tools.ConsoleProducer "$@"
    fi
}
payload=$(printf '%s' "$5" | tr '\n' ' ')
# a tab stands between key and value; with --sync what goes wrong ends it
printf '%s\t{"job_type":"%s","payload":%s,"submission_id":"%s"}\n' "$3" "$4" "$payload" "$3" |
    console_producer --bootstrap-server "$1" --topic "$2" --sync \
        --property parse.key=true --producer-property acks=all --producer-property linger.ms=0 \
        --producer-property max.block.ms=15000 --producer-property request.timeout.ms=10000 \
        --producer-property delivery.timeout.ms=15000
