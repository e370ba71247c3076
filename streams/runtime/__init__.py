"""What every task of the worker stands on: Faust, state, transactions, offsets."""
