"""Operations as one part of the feeds: made from the settings, opened and closed by the service."""

from __future__ import annotations

from fastapi import APIRouter

from civicstream.settings import Settings
from feeds.operations.decision_service import DecisionService, Publish
from feeds.operations.forgetting import Forgetting
from feeds.operations.operation_store import OperationStore
from feeds.operations.routes import operations_router

__all__ = ["Operations"]


class Operations:
    """``publish`` returns when Kafka has confirmed the records."""

    def __init__(self, settings: Settings, publish: Publish) -> None:
        self._store = OperationStore(settings.feeds.database_url or settings.database.url)
        source = f"feeds/{settings.feeds.id}"
        self._decisions = DecisionService(self._store, publish, source)
        self._forgetting = Forgetting(settings, publish)

    def router(self) -> APIRouter:
        return operations_router(self._decisions, self._forgetting)

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()
