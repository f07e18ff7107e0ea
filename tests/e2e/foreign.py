"""A service that knows Kafka and Avro, and imports nothing of Odradek: it starts two workflows.

`foreign.py BOOTSTRAP TOPIC AVSC QUEUE ID_AVRO ID_JSON`. Its client library's own default partitioner chooses the
partitions, which is not the one that Odradek uses.
"""

from __future__ import annotations

import io
import json
import sys

import fastavro
from confluent_kafka import Producer
from fastavro.schema import fingerprint, to_parsing_canonical_form


def main(bootstrap: str, topic: str, avsc: str, queue: str, id_avro: str, id_json: str) -> None:
    with open(avsc) as file:
        schema = fastavro.parse_schema(json.load(file))
    body = io.BytesIO()
    payload = {"metadata": {"encoding": b"json/plain"}, "data": b'"Avro"'}
    record = {"workflow_id": id_avro, "workflow_type": "greet", "task_queue": queue, "input": [payload]}
    fastavro.schemaless_writer(body, schema, record)
    name = bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))
    plain = {
        "type": "StartWorkflow", "workflow_id": id_json, "workflow_type": "greet", "task_queue": queue,
        "input": ["JSON"], "request_id": "from-abroad",
    }
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, key=id_avro, value=b"\xc3\x01" + name + body.getvalue())
    for _ in range(2):  # harmless: the request has an ID
        producer.produce(topic, key=id_json, value=json.dumps(plain).encode())
    producer.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
