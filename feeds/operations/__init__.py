"""What people decide through the feeds: checked, put on Kafka, answered once that has it."""
