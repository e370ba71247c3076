"""Live feed, history and alerts. Empty until its first issue is built."""
