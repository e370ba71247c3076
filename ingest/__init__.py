"""MQTT in, validated and batched frames out to Kafka."""
