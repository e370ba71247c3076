"""The Kafka kit: everything our processes do with Kafka that is not their own business."""
