"""What the world's source file shows of the payments: names for numbers, labels that came late."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.schema import ARROW_TYPES, COLUMNS, LABEL_COLUMNS
from pipeline.simulate.geography import Flags, Floats, Ints
from pipeline.simulate.legitimate import CHANNELS, HOUR, NONE, POS
from pipeline.simulate.population import DAY, World

SOCIAL_EVENTS = ("breach_notice", "phishing_report", "handle_change")
WARNINGS = 2  # the first of them, which also come before an account takeover
SEEN_BEFORE = 180 * DAY  # how long before the world begins social events were collected
SOCIAL_EVENTS_A_DAY = 0.009  # of one account
LATE_SHARE = 0.005
DECLINED_SHARE = 0.01  # of the remote payments
DECLINED_OFTEN = {"card_testing": 0.45, "stolen_card_online": 0.15}
FORTY_BITS = (1 << 40) - 1


def arrivals(random: np.random.Generator, times: Ints, *, end: int) -> Ints:
    """Return when each payment reached us: mostly within minutes, never after the end."""
    delay = random.exponential(90e6, len(times))
    late = random.random(len(times)) < LATE_SHARE
    delay += np.where(late, HOUR * (1 + random.lognormal(2.0, 0.8, len(times))), 0)
    return np.minimum(times + delay.astype(np.int64), end)


def draw_declined(random: np.random.Generator, payments: pd.DataFrame) -> Flags:
    """Return which payments were declined: few remote ones, more of those by thieves."""
    share = payments["scenario"].map(DECLINED_OFTEN).fillna(DECLINED_SHARE).to_numpy(np.float64)
    declined: Flags = (random.random(len(payments)) < share) & (
        payments["channel"] != POS
    ).to_numpy()
    return declined


def source_table(
    random: np.random.Generator, world: World, payments: pd.DataFrame, *, unlabelled_share: float
) -> pa.Table:
    """Return the columns of `features.schema` for the payments, in their order."""
    account, retailer = payments["account"].to_numpy(), payments["retailer"].to_numpy()
    accounts, retailers, geography = world.accounts, world.retailers, world.geography
    latitude, longitude = _coordinates(random, world, payments)
    event, event_at = _last_social_events(random, world, payments)
    is_fraud, label_known_at = _labels(random, world, payments, unlabelled_share=unlabelled_share)
    bought = retailer != NONE
    columns = {
        "transaction_id": transaction_ids(len(payments)),
        "event_time": payments["time"],
        "known_at": payments["known_at"],
        "account_id": _named(account, lambda number: f"a{number:06d}"),
        "amount": np.maximum(payments["amount"].to_numpy().round(2), 0.01),
        "currency": pa.repeat("EUR", len(payments)),
        "ip_address": _named(payments["address"].to_numpy(), geography.address_text),
        "device_id": _named(payments["device"].to_numpy(), _device_name),
        "latitude": latitude,
        "longitude": longitude,
        "country": pa.array(geography.country, pa.string()).take(accounts.home[account]),
        "merchant_id": _named(retailer, lambda number: f"m{number:05d}"),
        "merchant_category": _where(
            bought, pa.array(retailers.category, pa.string()).take(retailer.clip(0))
        ),
        "merchant_latitude": _rounded(bought, retailers.latitude[retailer]),
        "merchant_longitude": _rounded(bought, retailers.longitude[retailer]),
        "merchant_country": _where(
            bought, pa.array(geography.country, pa.string()).take(retailers.place[retailer])
        ),
        "counterparty_id": _named(payments["payee"].to_numpy(), _receiver_name),
        "account_opened_at": accounts.opened[account],
        "channel": pa.array(CHANNELS).take(payments["channel"].to_numpy()),
        "declined": payments["declined"],
        "credit_score": accounts.credit_score[account],
        "social_event": event,
        "social_event_at": event_at,
        "is_fraud": is_fraud,
        "label_known_at": label_known_at,
    }
    schema = pa.schema(
        [(column.name, ARROW_TYPES[column.kind]) for column in (*COLUMNS, *LABEL_COLUMNS)]
    )
    return pa.table(
        {name: pa.array(columns[name]).cast(schema.field(name).type) for name in schema.names},
        schema=schema,
    )


def truth_table(payments: pd.DataFrame) -> pa.Table:
    """Return transaction_id, the scenario (null is legitimate) and is_fraud of every payment."""
    scenario = pa.array(payments["scenario"].tolist(), pa.string())
    return pa.table(
        {
            "transaction_id": transaction_ids(len(payments)),
            "scenario": scenario,
            "is_fraud": scenario.is_valid(),
        }
    )


def transaction_ids(count: int) -> pa.Array:
    """Number the transactions in the order in which they reached us.

    >>> transaction_ids(2).to_pylist()
    ['t000000001', 't000000002']
    """
    number = pc.utf8_lpad(pa.array(np.arange(1, count + 1)).cast(pa.string()), 9, padding="0")
    return pc.binary_join_element_wise("t", number, "")


def _coordinates(
    random: np.random.Generator, world: World, payments: pd.DataFrame
) -> tuple[pa.Array, pa.Array]:
    """Return the retailer's door for a payment in a shop, else a place near a known address."""
    in_shop = (payments["channel"] == POS).to_numpy()
    place = world.geography.place_of(payments["address"].to_numpy().clip(0))
    retailer = payments["retailer"].to_numpy()
    known = in_shop | payments["located"].to_numpy(np.bool_)
    spread = np.where(in_shop, 0.001, 0.04)
    latitude = np.where(
        in_shop, world.retailers.latitude[retailer], world.geography.latitude[place]
    )
    longitude = np.where(
        in_shop, world.retailers.longitude[retailer], world.geography.longitude[place]
    )
    return (
        _rounded(known, latitude + random.normal(0, 1, len(known)) * spread),
        _rounded(known, longitude + random.normal(0, 1, len(known)) * spread),
    )


def _last_social_events(
    random: np.random.Generator, world: World, payments: pd.DataFrame
) -> tuple[pa.Array, pa.Array]:
    """Return what was last seen of each payer in public before the payment, and when."""
    first = world.start - SEEN_BEFORE
    span = world.end - first
    usual = round(len(world.accounts) * span / DAY * SOCIAL_EVENTS_A_DAY)
    warned = payments.loc[payments["warned_at"] != NONE, ["account", "warned_at"]].drop_duplicates()
    account = np.concatenate(
        [random.integers(0, len(world.accounts), usual), warned["account"].to_numpy(np.int64)]
    )
    at = np.concatenate(
        [random.integers(first, world.end, usual), warned["warned_at"].to_numpy(np.int64)]
    )
    kind = random.choice(len(SOCIAL_EVENTS), len(at), p=[0.4, 0.35, 0.25])
    kind[usual:] %= WARNINGS
    order = np.argsort(account * span + (at - first), kind="stable")
    account, at, kind = account[order], at[order], kind[order]
    payer = payments["account"].to_numpy()
    last = (
        np.searchsorted(
            account * span + (at - first), payer * span + (payments["time"].to_numpy() - first)
        )
        - 1
    )
    seen = (last >= 0) & (account[last] == payer)
    return _where(seen, pa.array(SOCIAL_EVENTS).take(kind[last])), _where(seen, pa.array(at[last]))


def _labels(
    random: np.random.Generator, world: World, payments: pd.DataFrame, *, unlabelled_share: float
) -> tuple[pa.Array, pa.Array]:
    """Return the labels that came before the world's end, most after 2 to 20 days, and when."""
    delay = ((1 + random.gamma(2.0, 4.0, len(payments))) * DAY).astype(np.int64)
    known_at = np.maximum(payments["time"].to_numpy() + delay, payments["known_at"].to_numpy())
    came = (known_at <= world.end) & (random.random(len(payments)) >= unlabelled_share)
    return _where(came, pa.array(payments["scenario"].notna().to_numpy())), _where(
        came, pa.array(known_at)
    )


def _named(numbers: Ints, name: Callable[[int], str]) -> pa.Array:
    """Write each number by its name; NONE is null."""
    distinct, index = np.unique(numbers, return_inverse=True)
    return pa.array(
        [None if number == NONE else name(number) for number in distinct.tolist()], pa.string()
    ).take(pa.array(index))


def _device_name(device: int) -> str:
    """Scramble the number: it would tell whose device it is, and whether a fraudster's.

    >>> _device_name(1)
    'd9e3779b97f'
    """
    return f"d{device * 0x9E3779B97F & FORTY_BITS:010x}"


def _receiver_name(receiver: int) -> str:
    return f"r{(receiver + 1) * 0x9E3779B1 & 0xFFFFFFFF:08x}"


def _where(present: Flags, values: pa.Array) -> pa.Array:
    return pc.if_else(pa.array(present), values, pa.scalar(None, values.type))


def _rounded(present: Flags, values: Floats) -> pa.Array:
    """Round degrees to about ten metres."""
    return _where(present, pa.array(values.round(4)))
