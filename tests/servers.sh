#!/usr/bin/env bash
# Puts the real servers of the tests in place, once per machine: mosquitto, Alertmanager and a
# browser from Debian, and TimescaleDB from Debian 13 in a cache folder outside the checkout. Says what cannot be had.
set -u
cache="${TEST_SERVERS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/civicstream}"
root="$cache/timescaledb"

need_packages() {
    local missing=()
    command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || missing+=(mosquitto)
    command -v mosquitto_sub >/dev/null || missing+=(mosquitto-clients)
    command -v prometheus-alertmanager >/dev/null || missing+=(prometheus-alertmanager)
    command -v chromium >/dev/null || missing+=(chromium)
    command -v psql >/dev/null || missing+=(postgresql-client)
    command -v debootstrap >/dev/null || [ -x /usr/sbin/debootstrap ] || missing+=(debootstrap)
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "tests: not installed: ${missing[*]} (needs apt-get as root); tests on them will skip"
        return 1
    fi
    echo "tests: installing ${missing[*]}"
    # Debian starts mosquitto when it is installed; the tests start their own on free ports.
    printf '#!/bin/sh\nexit 101\n' >"$cache/policy" && chmod +x "$cache/policy"
    local policy=/usr/sbin/policy-rc.d
    [ -e $policy ] || { cp "$cache/policy" $policy; trap 'rm -f /usr/sbin/policy-rc.d' EXIT; }
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

need_timescaledb() {
    [ -e "$root/.complete" ] && return 0
    if [ "$(id -u)" -ne 0 ]; then
        echo "tests: TimescaleDB needs root (debootstrap, chroot); its tests will skip"
        return 1
    fi
    echo "tests: installing TimescaleDB into $root (about a minute, once)"
    rm -rf "$root"
    debootstrap --variant=minbase --include=postgresql-17,postgresql-17-timescaledb trixie "$root" \
        >"$cache/debootstrap.log" 2>&1 && touch "$root/.complete" ||
        { echo "tests: debootstrap failed:"; tail -5 "$cache/debootstrap.log"; return 1; }
}

mkdir -p "$cache"
need_packages
need_timescaledb
exit 0
