#!/bin/sh
# Submits one job with kcat: submit.sh BOOTSTRAP TOPIC SUBMISSION_ID JOB_TYPE PAYLOAD
# PAYLOAD is a JSON object; id and type are taken as they are, and so must need no escape in JSON.
# Exit code 0: Kafka has stored the submission.
set -eu
if [ $# -ne 5 ]; then
    echo "usage: submit.sh BOOTSTRAP TOPIC SUBMISSION_ID JOB_TYPE PAYLOAD" >&2
    exit 2
fi
# -k is the record's key; JSON on one line, since a line is a record
payload=$(printf '%s' "$5" | tr '\n' ' ')
printf '{"job_type":"%s","payload":%s,"submission_id":"%s"}\n' "$4" "$payload" "$3" |
    kcat -P -b "$1" -t "$2" -k "$3" -X acks=all -X message.timeout.ms=15000
