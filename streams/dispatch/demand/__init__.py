"""Demand: what each area needs of each service, now and over the next hours."""

from streams.dispatch.demand.bins import BinForecaster
from streams.dispatch.demand.forecaster import DemandForecaster
from streams.dispatch.demand.parking import ParkingForecaster
from streams.dispatch.demand.resources import ResourceForecaster

__all__ = ["BinForecaster", "DemandForecaster", "ParkingForecaster", "ResourceForecaster"]
