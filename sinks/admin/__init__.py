"""What operators do with the database: init, ledger, tokens, audit, forgetting."""
