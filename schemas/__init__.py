"""Avro schemas of everything that crosses a topic, one record a file; read through `pipeline.codec`."""
