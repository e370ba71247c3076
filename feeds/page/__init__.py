"""The operations page: what the people in the city's operations centre look at."""

from feeds.page.routes import page_routes

__all__ = ["page_routes"]
