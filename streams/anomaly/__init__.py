"""How unusual a reading is, for any kind and measure: online, bounded state, no training run."""

from streams.anomaly.detector import AnomalyDetector, Scores

__all__ = ["AnomalyDetector", "Scores"]
