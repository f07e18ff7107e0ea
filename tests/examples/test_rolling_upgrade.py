"""A changed workflow beside runs that began before the change."""

from __future__ import annotations

import pytest
from odradek import NonDeterminismError
from odradek.testing import Environment, replay

from examples.rolling_upgrade import v1, v2, v3
from examples.rolling_upgrade.activities import charge, check_for_fraud, send_receipt

from .recording import HISTORIES, recorded

OLD = ["charged 12.99", "receipt sent"]
NEW = ["checked", *OLD]
EXPECTED = {"v1": OLD, "v2": NEW, "v3": NEW}
VERSIONS = {"v1": v1.Payment, "v2": v2.Payment, "v3": v3.Payment}


@pytest.mark.parametrize("version", VERSIONS)
async def test_each_version_by_itself(version: str) -> None:
    activities = [charge, check_for_fraud, send_receipt]
    async with Environment(workflows=[VERSIONS[version]], activities=activities) as env:
        payment = await env.client.start(v1.Payment, 1299, id="p")
        await payment.signal(v1.Payment.arrived)
        assert await payment.result() == EXPECTED[version]
        await recorded(payment, f"rolling_upgrade-{version}")


@pytest.mark.parametrize(
    ("began", "goes_on", "fits"),
    [
        ("v1", "v1", True), ("v1", "v2", True), ("v1", "v3", False),
        ("v2", "v1", False), ("v2", "v2", True), ("v2", "v3", True),
        ("v3", "v2", True), ("v3", "v3", True),
    ],
)  # fmt: skip
def test_which_version_may_go_on_with_which_run(began: str, goes_on: str, fits: bool) -> None:
    history = (HISTORIES / f"rolling_upgrade-{began}.json").read_text()
    if fits:
        replay(history, workflows=[VERSIONS[goes_on]])
        return
    with pytest.raises(NonDeterminismError, match=r"check_for_fraud|check-for-fraud"):
        replay(history, workflows=[VERSIONS[goes_on]])
