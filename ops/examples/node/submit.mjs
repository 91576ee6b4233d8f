// Submits one job: node submit.mjs BOOTSTRAP TOPIC SUBMISSION_ID JOB_TYPE PAYLOAD
// BOOTSTRAP is host:port, PAYLOAD a JSON object. Exit code 0: Kafka has stored the submission.
import { Producer, ProduceAcks, stringSerializers } from '@platformatic/kafka'

const [bootstrap, topic, id, type, payload] = process.argv.slice(2)
if (payload === undefined) {
  console.error('usage: node submit.mjs BOOTSTRAP TOPIC SUBMISSION_ID JOB_TYPE PAYLOAD')
  process.exit(2)
}

const producer = new Producer({
  clientId: 'submit-node',
  bootstrapBrokers: bootstrap.split(','),
  serializers: stringSerializers,
  // the same id again makes no second job, so that trying again is safe
  retries: 5,
  timeout: 15_000
})
try {
  const value = JSON.stringify({ job_type: type, payload: JSON.parse(payload), submission_id: id })
  const { offsets } = await producer.send({
    acks: ProduceAcks.ALL,
    messages: [{ topic, key: id, value }]
  })
  const [{ partition, offset }] = offsets
  console.log(`${topic}-${partition}-${offset}`)
} finally {
  await producer.close()
}
