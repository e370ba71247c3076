"""The task `frames`: readings of every kind into windows, partition by partition."""
