"""A simulated city, and the replay of recorded data, published over MQTT."""
