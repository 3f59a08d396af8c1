"""Which groups a portfolio has: by its columns, in its order, with its own columns; and every refusal."""

import pytest

from features.groups import Extra, GroupError, portfolio_groups

COLUMNS = ["ip_address", "device_id", "merchant_id"]


def names(columns: list[str], *, order: tuple[str, ...] = ()) -> list[str]:
    return [group.name for group in portfolio_groups(columns, order=order)]


def test_a_portfolio_has_the_groups_its_columns_allow() -> None:
    assert names([]) == ["amount", "clock", "sender"]
    assert names(COLUMNS) == ["amount", "clock", "ip", "retailer", "sender"]
    assert names(["latitude"]) == ["amount", "clock", "sender"]
    assert names(["latitude", "longitude"]) == ["amount", "clock", "location", "sender"]


def test_the_portfolios_order_holds() -> None:
    assert names(COLUMNS, order=("sender", "ip", "amount")) == ["sender", "ip", "amount"]


def test_a_group_has_only_the_features_its_columns_allow() -> None:
    (ip,) = portfolio_groups(["ip_address", "merchant_country"], order=("ip",))
    found = {feature.name for feature in ip.features}
    assert {"ip_new_for_account", "ip_not_at_retailer", "network_count_1d", "ip_fraud_run"} <= found
    assert not found & {"ip_abroad", "device_new_for_account", "device_count_1h", "device_fraud_run"}


def test_an_own_column_joins_its_group_last() -> None:
    extra = {"basket_size": Extra(group="amount"), "shop_kind": Extra(group="sender", kind="category")}
    amount, sender = portfolio_groups(["basket_size", "shop_kind"], order=("amount", "sender"), extra=extra)
    assert (amount.features[-1].name, amount.features[-1].kind) == ("own_basket_size", "number")
    assert (sender.features[-1].name, sender.features[-1].kind) == ("own_shop_kind", "category")


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (("amount", "wealth"), "names 'wealth', which is no group; choose from amount, clock"),
        (("amount", "clock", "amount"), "names 'amount' twice"),
        (("location",), "the group 'location' needs latitude, longitude, which"),
    ],
    ids=["an unknown group", "a group twice", "a group whose columns are absent"],
)
def test_an_order_is_refused_with(order: tuple[str, ...], message: str) -> None:
    with pytest.raises(GroupError, match=message):
        portfolio_groups(COLUMNS, order=order)


@pytest.mark.parametrize(
    ("name", "group", "message"),
    [
        ("basket_size", "wealth", "is to join 'wealth', which is no group"),
        ("basket_size", "location", "is to join 'location', a group the portfolio lacks"),
        ("amount", "sender", "'amount', which is a name of Strata's own"),
        ("amount_mean_7d", "amount", "'amount_mean_7d', which is a name of Strata's own"),
        ("as_of_us", "amount", "'as_of_us', which is a name of Strata's own"),
        ("Basket Size", "amount", "'Basket Size'; use lower-case letters"),
        ("weight", "amount", "'weight' of .groups.extra. is not in the source"),
    ],
    ids=[
        "an unknown group",
        "an absent group",
        "a column",
        "a feature",
        "a derived name",
        "a name that is no word",
        "no such column",
    ],
)
def test_an_own_column_is_refused_with(name: str, group: str, message: str) -> None:
    with pytest.raises(GroupError, match=message):
        portfolio_groups([*COLUMNS, "basket_size", "Basket Size"], extra={name: Extra(group=group)})
