#!/bin/sh
# Healthy when a client with a password, over TLS, receives something.
set -eu
secrets=${SECRETS_DIR:-/run/secrets}
exec mosquitto_sub -h localhost -p "${PORT:-8883}" --cafile "$secrets/ca.crt" \
    -u health -P "$(cat "$secrets/mqtt_health_password")" \
    -t '$SYS/broker/uptime' -C 1 -W 15 >/dev/null
