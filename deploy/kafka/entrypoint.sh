#!/bin/bash
# Fills in the configuration with the secrets, formats the volume once, and starts Kafka.
# Folders, address and ports are variables so that the same script runs outside a container.
set -euo pipefail
secrets=${SECRETS_DIR:-/run/secrets}
config=${CONFIG_DIR:-/etc/civicstream}
run=${RUN_DIR:-/run/kafka}
data=${DATA_DIR:-/var/lib/kafka/data}
kafka=${KAFKA_HOME:-/opt/kafka}
umask 077

broker_password=$(<"$secrets/kafka_broker_password")
admin_password=$(<"$secrets/kafka_admin_password")
cat "$secrets/kafka.key" "$secrets/kafka.crt" >"$run/kafka.pem"
cp "$secrets/ca.crt" "$run/"
sed -e "s|@RUN@|$run|" -e "s|@DATA@|$data|" -e "s|@HOST@|${ADVERTISED_HOST:-kafka}|" \
    -e "s|@PORT@|${PORT:-9092}|g" -e "s|@CONTROLLER_PORT@|${CONTROLLER_PORT:-9093}|g" \
    -e "s|@ADMIN_PASSWORD@|$admin_password|" -e "s|@BROKER_PASSWORD@|$broker_password|g" \
    "$config/server.properties" >"$run/server.properties"
cat >"$run/health.properties" <<END
security.protocol=SASL_SSL
sasl.mechanism=PLAIN
sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="broker" password="$broker_password";
ssl.truststore.type=PEM
ssl.truststore.location=$run/ca.crt
END

"$kafka/bin/kafka-storage.sh" format --ignore-formatted \
    --cluster-id "${CLUSTER_ID:?a name of this Kafka, made by deploy/make_secrets.py}" \
    --config "$run/server.properties"
exec "$kafka/bin/kafka-server-start.sh" "$run/server.properties"
