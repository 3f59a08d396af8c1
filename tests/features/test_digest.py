"""The fingerprint tells features apart, and is for the same features what release 0.1 wrote in bundles."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from features.declarations import Group
from features.digest import difference, digest, fingerprints
from features.groups.catalogue import GROUPS, Extra, portfolio_groups

# of each set of groups: its digest, and one of its features' fingerprints
RELEASE_0_1 = {
    "amount": ("db830ec7e58559e8", "c1d0a5d1eed6063d"),
    "clock": ("301ba89afee41f10", "5c0d34f92b7a44a0"),
    "ip": ("9c28352116b22db4", "2322e4016e525daa"),
    "location": ("9f2a312b4353dc43", "5d6e083e0e97729b"),
    "retailer": ("a8d322c8eb21eba1", "95ed524b0be57aa1"),
    "receiver": ("3d75d15a874867ab", "c44d75eaaa59e93a"),
    "sender": ("f3a95f8616329bd3", "4f69c6c3affae3bb"),
    "credit": ("d9b1fac488f4e36e", "674c29d77fdcc1f8"),
    "social": ("f97aad83e25af835", "403c1fa097819105"),
    "all": ("50d2606ec3217584", "29597328cdd03995"),
    "of a small shop": ("cca70cf9255e187d", "4d17b7529ae06cf2"),
    "in another order": ("7e9a6779318d0d0f", "f3682d04d3e28ccb"),
    "with own columns": ("b6e19e35da90afe2", "d439146c86f2f754"),
}
OWN = {"basket": Extra(group="amount"), "shop": Extra(group="ip", kind="category")}
ORDER = ("retailer", "sender", "clock")
SETS: dict[str, Sequence[Group]] = {
    **{name: (group,) for name, group in GROUPS.items()},
    "all": tuple(GROUPS.values()),
    "of a small shop": portfolio_groups(["merchant_id"]),
    "in another order": portfolio_groups(["merchant_id", "counterparty_id"], order=ORDER),
    "with own columns": portfolio_groups(
        ["ip_address", "counterparty_id", "basket", "shop"], extra=OWN
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_bundles_of_release_0_1_go_on_scoring(name: str) -> None:
    each = json.dumps(fingerprints(SETS[name]), sort_keys=True)
    of_each = hashlib.sha256(each.encode()).hexdigest()[:16]
    assert (digest(SETS[name]), of_each) == RELEASE_0_1[name]


def test_the_digest_tells_what_the_features_mean() -> None:
    amount = GROUPS["amount"]
    first, *others = amount.features
    renamed = replace(amount, features=(replace(first, name="amount_given"), *others))
    changed = replace(amount, features=(replace(first, sql="amount + 1"), *others))
    worded = replace(amount, features=(replace(first, meaning="how much"), *others))
    differing = [[amount], [renamed], [changed], [amount, GROUPS["clock"]]]
    assert len(set(map(digest, differing))) == len(differing)
    assert digest([worded]) == digest([amount])


def test_what_differs_between_two_sets_of_features_is_said() -> None:
    amount, clock, social = (GROUPS[name] for name in ("amount", "clock", "social"))
    ours = fingerprints([with_shorter_mean(amount), clock])
    changed, _, others = difference(ours, fingerprints([amount, social])).partition("have changed")
    gone, _, new = others.partition("are gone")
    assert changed == "amount_mean_90d, amount_over_mean_90d, amount_z_90d, amount_high_14d "
    assert "social_kind" in gone
    assert "clock_hour_sine" in new


def with_shorter_mean(amount: Group) -> Group:
    features = {feature.name: feature for feature in amount.features}
    mean = features["amount_mean_90d"]
    assert mean.aggregate
    shorter = replace(mean, aggregate=replace(mean.aggregate, span="80d"))
    return replace(amount, features=tuple((features | {mean.name: shorter}).values()))
