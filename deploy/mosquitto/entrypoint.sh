#!/bin/sh
# Puts the secrets where only mosquitto reads them, fills in its configuration and starts it.
# The folders are variables so that the same script runs outside a container.
set -eu
secrets=${SECRETS_DIR:-/run/secrets}
config=${CONFIG_DIR:-/etc/civicstream}
run=${RUN_DIR:-/run/mosquitto}
data=${DATA_DIR:-/mosquitto/data}
port=${PORT:-8883}
umask 077

for user in gateway field deliver health; do
    printf '%s:%s\n' "$user" "$(cat "$secrets/mqtt_${user}_password")"
done >"$run/passwords"
# Only where alerts are delivered over MQTT.
if [ -s "$secrets/mqtt_deliver_password" ]; then
    printf '%s:%s\n' deliver "$(cat "$secrets/mqtt_deliver_password")" >>"$run/passwords"
fi
# Accounts of single devices, one user:password per line.
if [ -s "$secrets/mqtt_devices" ]; then
    cat "$secrets/mqtt_devices" >>"$run/passwords"
fi
mosquitto_passwd -U "$run/passwords" # hashes the passwords in place

cp "$secrets/ca.crt" "$secrets/mqtt.crt" "$secrets/mqtt.key" "$config/acl" "$run/"
sed -e "s|@RUN@|$run|" -e "s|@DATA@|$data|" -e "s|@PORT@|$port|" \
    "$config/mosquitto.conf" >"$run/mosquitto.conf"
exec mosquitto -c "$run/mosquitto.conf"
