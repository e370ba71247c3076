"""The same work on other frameworks, as their documentation writes it: one process each.

Each consumes N JSON readings from Kafka, means the speed of every sensor over one-minute
tumbling event-time windows, and prints one JSON object: readings, results, seconds,
readings_per_s, cpu_s. Time runs from the first reading consumed to the last result. None of
them has to publish its results or to leave out repeats, which is in their favour.
"""
