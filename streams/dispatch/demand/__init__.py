"""Demand: what each area needs of each service, now and over the next hours."""

from streams.dispatch.demand.bins import BinForecaster
from streams.dispatch.demand.desk import DemandDesk
from streams.dispatch.demand.parking import ParkingForecaster
from streams.dispatch.demand.resources import ResourceDesk

__all__ = ["BinForecaster", "DemandDesk", "ParkingForecaster", "ResourceDesk"]
