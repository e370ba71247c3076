"""Demand: what each area needs of each service, now and over the next hours."""

from streams.demand.bins import BinForecaster
from streams.demand.desk import DemandDesk
from streams.demand.parking import ParkingForecaster
from streams.demand.resources import ResourceDesk

__all__ = ["BinForecaster", "DemandDesk", "ParkingForecaster", "ResourceDesk"]
