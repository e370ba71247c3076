"""The servers of a stack on one machine: Apache Kafka, PostgreSQL and an MQTT broker."""
