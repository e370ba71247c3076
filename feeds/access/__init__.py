"""Who may use the feeds: tokens, JWTs, sessions of browsers, and the guard before all routes."""
