#!/bin/bash
# Healthy when the broker answers a client with a password, over TLS.
set -euo pipefail
exec "${KAFKA_HOME:-/opt/kafka}/bin/kafka-broker-api-versions.sh" \
    --bootstrap-server "localhost:${PORT:-9092}" \
    --command-config "${RUN_DIR:-/run/kafka}/health.properties" >/dev/null
