"""What legitimate customers do: buy near home and online, travel, change devices and addresses.

Each habit that a fraud could be recognised by also happens here, so that no single column gives a
fraud away.
"""

import numpy as np
import pandas as pd

from pipeline.simulate.geography import Flags, Floats, Ints
from pipeline.simulate.population import (
    DAY,
    DEVICES,
    GATEWAYS,
    ONLINE_LIKED,
    PAYEES,
    POS_LIKED,
    World,
    any_place,
    ranks,
)

HOUR = DAY // 24
POS, ONLINE, TRANSFER = 0, 1, 2
CHANNELS = ("pos", "online", "transfer")
NONE = -1  # no retailer, receiver, address or device
ON_THE_WAY = 10 * HOUR  # around the ends of a trip nobody stands in a shop


def legitimate_payments(random: np.random.Generator, world: World, count: int) -> pd.DataFrame:
    """Return payments as numbers, one column a fact.

    `place` is where the payer is; `located` says whether a remote payment carries the coordinates
    of its address.
    """
    accounts = world.accounts
    account = np.sort(random.choice(len(accounts), count, p=accounts.activity))
    time = _times(random, world, account)
    place, on_the_way = _whereabouts(world, account, time)
    channel = _channels(random, world, account, on_the_way=on_the_way)
    retailer = _retailers(random, world, account, place, channel)
    remote = channel != POS
    address = np.where(remote, _addresses(random, world, account, place), NONE)
    # else the address is a VPN or roams
    at_place = remote & (world.geography.place_of(address.clip(0)) == place)
    return pd.DataFrame(
        {
            "account": account,
            "time": time,
            "channel": channel,
            "place": place,
            "retailer": retailer,
            "payee": np.where(channel == TRANSFER, _payees(random, world, account), NONE),
            "address": address,
            "device": np.where(remote, _devices(random, world, account, time), NONE),
            "amount": amounts(random, world, account, retailer, channel),
            "located": at_place & ~on_the_way & (random.random(count) < 0.35),
        }
    )


def amounts(
    random: np.random.Generator, world: World, account: Ints, retailer: Ints, channel: Ints
) -> Floats:
    """Draw amounts after the account's habit and the retailer's prices, some tiny, some large."""
    count = len(account)
    level = np.where(channel == TRANSFER, 1.2, world.retailers.level[retailer])
    spread = np.where(channel == TRANSFER, 0.9, 0.55)
    amount = np.exp(
        world.accounts.log_typical[account] + level + random.normal(0, 1, count) * spread
    )
    large = random.random(count) < 0.012
    tiny = (channel == ONLINE) & (random.random(count) < 0.08)
    amount = np.where(large, amount * random.uniform(4, 15, count), amount)
    return np.where(tiny, random.uniform(0.5, 4.0, count), amount)


def clock_times(random: np.random.Generator, world: World, hours: Floats) -> Ints:
    """Draw an instant for each hour of the day on a random day of the world."""
    days = (world.end - world.start) // DAY
    day = random.integers(0, days, len(hours))
    return world.start + day * DAY + np.floor(hours % 24 * HOUR).astype(np.int64)


def _times(random: np.random.Generator, world: World, account: Ints) -> Ints:
    hours = world.accounts.active_hour[account] + random.normal(0, 3.6, len(account))
    restless = random.random(len(account)) < 0.06
    return clock_times(
        random, world, np.where(restless, random.uniform(0, 24, len(account)), hours)
    )


def _whereabouts(world: World, account: Ints, time: Ints) -> tuple[Ints, Flags]:
    place = world.accounts.home[account]
    on_the_way = np.zeros(len(account), dtype=np.bool_)
    for trip in range(world.accounts.trip_place.shape[1]):
        first, last = (
            world.accounts.trip_start[account, trip],
            world.accounts.trip_end[account, trip],
        )
        away = (first <= time) & (time < last)
        place = np.where(away, world.accounts.trip_place[account, trip], place)
        for border in (first, last):
            on_the_way |= (first < last) & (np.abs(time - border) < ON_THE_WAY)
    return place, on_the_way


def _channels(
    random: np.random.Generator, world: World, account: Ints, *, on_the_way: Flags
) -> Ints:
    chance = random.random(len(account))
    transfer = world.accounts.transfer_share[account]
    online = transfer + world.accounts.online_share[account]
    channel = np.where(chance < transfer, TRANSFER, np.where(chance < online, ONLINE, POS))
    return np.where((channel == POS) & on_the_way, ONLINE, channel)


def _retailers(
    random: np.random.Generator, world: World, account: Ints, place: Ints, channel: Ints
) -> Ints:
    """Choose a liked retailer mostly, by its popularity else, and on a trip always."""
    count, retailers, accounts = len(account), world.retailers, world.accounts
    at_home = (place == accounts.home[account]) & (random.random(count) < 0.8)
    liked = accounts.liked_pos[account, ranks(random, POS_LIKED, count)]
    pos = retailers.in_place(
        place, np.where(at_home, liked, ranks(random, retailers.a_place, count))
    )
    liked = accounts.liked_online[account, ranks(random, ONLINE_LIKED, count)]
    online = retailers.on_line(
        np.where(random.random(count) < 0.7, liked, ranks(random, retailers.online, count))
    )
    return np.select([channel == POS, channel == ONLINE], [pos, online], NONE)


def _payees(random: np.random.Generator, world: World, account: Ints) -> Ints:
    usual = world.accounts.payees[account, ranks(random, PAYEES, len(account))]
    return np.where(
        random.random(len(account)) < 0.9, usual, random.integers(0, world.receivers, len(account))
    )


def _addresses(random: np.random.Generator, world: World, account: Ints, place: Ints) -> Ints:
    """Choose home, work, the mobile network, a VPN, or somewhere new nearby.

    Abroad the mobile network may still answer from home.
    """
    count, accounts = len(account), world.accounts
    away = place != accounts.home[account]
    gateway = world.gateways[accounts.home[account], random.integers(0, GATEWAYS, count)]
    nearby = world.geography.draw_addresses(random, place)
    chance = random.random(count) + np.where(away, 0.45, 0.0)
    address = np.select(
        [chance < 0.5, chance < 0.7, chance < 0.93],
        [accounts.home_address[account], accounts.work_address[account], gateway],
        nearby,
    )
    address = np.where(away & (chance < 0.7), gateway, address)
    hidden = (accounts.vpn_address[account] != NONE) & (random.random(count) < 0.5)
    elsewhere = world.geography.draw_addresses(
        random, any_place(random, world.geography, count, home=0.5)
    )
    # networks sold on, satellites, misplaced ranges
    address = np.where(random.random(count) < 0.004, elsewhere, address)
    return np.where(hidden, accounts.vpn_address[account], address)


def _devices(random: np.random.Generator, world: World, account: Ints, time: Ints) -> Ints:
    """Choose one of the account's devices.

    All are replaced at one time, a borrowed one is used now and then.
    """
    count, accounts = len(account), world.accounts
    number = np.floor(random.random(count) ** 2 * accounts.devices[account]).astype(np.int64)
    number += np.where(time >= accounts.new_devices_at[account], 4, 0)
    number = np.where(random.random(count) < 0.008, random.integers(8, DEVICES // 2, count), number)
    return np.where(random.random(count) < 0.04, NONE, account * DEVICES + number)
