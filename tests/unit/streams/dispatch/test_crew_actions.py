"""What comes by the crews' way is a crew's word: nobody decides for the city there."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from civicstream.errors import CorruptFrame
from civicstream.event_topics import EVENTS
from civicstream.service_events import CrewAction
from streams.dispatch.dispatch import INPUTS, decode_input
from tests.kit.citizen_events import action


def _encoded(**changes: Any) -> bytes:
    return msgspec.json.encode(action(**{"by": "unit/tow-3", "action": "done"} | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"by": "operator-3"},
        {"by": "unit/"},
        {"by": "oidc/unit/tow-3"},
        {"action": "override"},
        {"action": "acknowledge"},
    ],
)
def test_an_operator_s_decision_among_crews_actions_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(CorruptFrame, match="not a CrewAction"):
        decode_input("crew_actions", _encoded(**changes))
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(_encoded(**changes), type=EVENTS["crew_actions"])


def test_a_crew_s_own_action_is_taken() -> None:
    assert "crew_actions" in INPUTS
    said = decode_input("crew_actions", _encoded())
    assert isinstance(said, CrewAction)
    assert (said.by, said.action) == ("unit/tow-3", "done")
