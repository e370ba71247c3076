"""The city's service types in Open311's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from civicstream.services import ServiceType

__all__ = ["service_definition", "service_list", "service_notice"]


def service_list(services: Mapping[str, ServiceType]) -> list[dict[str, Any]]:
    """Return GET services."""
    return [
        {
            "service_code": service.code,
            "service_name": service.name,
            "description": service.description,
            "metadata": bool(service.attributes),
            "type": "realtime",
            "keywords": ", ".join(service.keywords),
            "group": service.group,
        }
        for service in services.values()
    ]


def service_definition(service: ServiceType) -> dict[str, Any]:
    """Return GET services/{code}: its attributes, none where ``metadata`` is false."""
    return {
        "service_code": service.code,
        "attributes": [
            {
                "variable": attribute.variable,
                "code": attribute.code,
                "datatype": attribute.datatype,
                "required": attribute.required,
                "datatype_description": attribute.datatype_description or None,
                "order": order,
                "description": attribute.description,
                "values": [{"key": k, "name": n} for k, n in attribute.values.items()],
            }
            for order, attribute in enumerate(service.attributes, 1)
        ],
    }


def service_notice(service: ServiceType) -> str:
    """Return what the citizen may expect."""
    hours = service.target_h
    span = f"{hours:g} hours" if hours < 72 else f"{hours / 24:.0f} days"
    return f"{service.agency} aims to resolve this within {span}."
