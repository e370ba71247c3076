"""Events and the clock in, versions of alerts out; no client library."""
