"""The task `network`: the city's traffic windows, judged for incidents and forecasts."""
