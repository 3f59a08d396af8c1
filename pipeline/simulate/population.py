"""Who lives in the simulated world: accounts with their habits, and the retailers they buy from."""

from dataclasses import dataclass

import numpy as np

from pipeline.simulate.geography import ABROAD, HOMES, Floats, Geography, Ints, Texts

DAY = 86_400_000_000  # microseconds
PAYMENTS_A_DAY = 0.8  # of one account
POS_LIKED, ONLINE_LIKED, PAYEES = 6, 5, 4
GATEWAYS = 3  # addresses that all mobile users of a place share
TRIPS = 2  # at most, of one account
# numbers kept free for the devices of one account; the upper half is only ever a fraudster's
DEVICES = 128

# ISO 18245 category: (share of the retailers, price level as log of the usual price over a typical
# payment)
POS_CATEGORIES = {
    "5411": (0.20, 0.2), "5812": (0.17, 0.1), "5814": (0.13, -0.9), "5541": (0.10, 0.4),
    "5912": (0.08, -0.4), "5651": (0.08, 0.6), "5732": (0.04, 1.5), "5311": (0.05, 0.7),
    "7011": (0.04, 1.6), "7230": (0.04, 0.1), "5200": (0.04, 0.6), "5942": (0.02, -0.4),
    "5944": (0.01, 2.0),
}  # fmt: skip
ONLINE_CATEGORIES = {
    "5815": (0.14, -1.2), "5816": (0.10, -0.7), "5732": (0.14, 1.3), "5651": (0.18, 0.6),
    "5311": (0.12, 0.5), "4722": (0.05, 1.6), "4511": (0.05, 1.9), "5942": (0.10, -0.3),
    "7995": (0.03, 0.2), "4899": (0.09, -0.5),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Retailers:
    """`a_place` physical retailers in every place, most popular first, then the online ones."""

    a_place: int
    online: int
    place: Ints
    category: Texts
    level: Floats
    latitude: Floats
    longitude: Floats

    def in_place(self, places: Ints, ranks: Ints) -> Ints:
        """Return the physical retailer of each rank in each place."""
        return places * self.a_place + ranks

    def on_line(self, ranks: Ints) -> Ints:
        """Return the online retailer of each rank."""
        return (HOMES + ABROAD) * self.a_place + ranks


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """Accounts and their habits; the arrays run along the accounts."""

    activity: Floats  # share of all payments
    home: Ints
    log_typical: Floats  # log of the usual amount
    active_hour: Floats
    online_share: Floats
    transfer_share: Floats
    devices: Ints
    new_devices_at: Ints  # when all devices are replaced; for most after the end of the world
    home_address: Ints
    work_address: Ints
    vpn_address: Ints  # -1 is no user of one
    liked_pos: Ints  # [accounts, POS_LIKED], ranks at home
    liked_online: Ints  # [accounts, ONLINE_LIKED], ranks
    payees: Ints  # [accounts, PAYEES]
    trip_place: Ints  # [accounts, TRIPS]
    trip_start: Ints
    trip_end: Ints  # start = end is no trip
    opened: Ints
    credit_score: Floats

    def __len__(self) -> int:
        """Count them."""
        return len(self.home)


@dataclass(frozen=True, kw_only=True)
class World:
    """Everything that exists before the first payment; times are microseconds since 1970."""

    geography: Geography
    retailers: Retailers
    accounts: Accounts
    gateways: Ints  # [places, GATEWAYS]
    receivers: int
    start: int
    end: int


def ranks(random: np.random.Generator, count: int, size: int, *, steepness: float = 0.9) -> Ints:
    """Draw popularity ranks below `count` after Zipf's law: the second is half as popular.

    >>> np.bincount(ranks(np.random.default_rng(0), 3, 1000)).tolist()
    [494, 299, 207]
    """
    heights = np.cumsum(1.0 / np.arange(1, count + 1) ** steepness)
    drawn: Ints = np.searchsorted(heights, random.random(size) * heights[-1]).astype(np.int64)
    return drawn


def make_world(
    random: np.random.Generator, geography: Geography, *, transactions: int, start: int, end: int
) -> World:
    """Make a world whose accounts pay a bit less than once a day."""
    count = max(20, round(transactions / ((end - start) / DAY) / PAYMENTS_A_DAY))
    retailers = _retailers(random, geography, a_place=int(np.clip(transactions // 8_000, 12, 120)))
    places = np.repeat(np.arange(HOMES + ABROAD), GATEWAYS)
    gateways = geography.draw_addresses(random, places).reshape(-1, GATEWAYS)
    receivers = count // 2 + 10
    accounts = _accounts(
        random, geography, retailers, count=count, receivers=receivers, start=start, end=end
    )
    return World(
        geography=geography,
        retailers=retailers,
        accounts=accounts,
        gateways=gateways,
        receivers=receivers,
        start=start,
        end=end,
    )


def any_place(random: np.random.Generator, geography: Geography, size: int, *, home: float) -> Ints:
    """Draw places by their weight; the share `home` of them where accounts live."""
    weight = geography.weight / np.where(
        np.arange(HOMES + ABROAD) < HOMES,
        geography.weight[:HOMES].sum(),
        geography.weight[HOMES:].sum(),
    )
    weight = weight * np.where(np.arange(HOMES + ABROAD) < HOMES, home, 1 - home)
    return random.choice(HOMES + ABROAD, size, p=weight / weight.sum())


def _retailers(random: np.random.Generator, geography: Geography, *, a_place: int) -> Retailers:
    physical, online = (HOMES + ABROAD) * a_place, 8 * a_place
    place = np.concatenate(
        [
            np.repeat(np.arange(HOMES + ABROAD), a_place),
            any_place(random, geography, online, home=0.6),
        ]
    )
    category, level = [], []
    for table, size in ((POS_CATEGORIES, physical), (ONLINE_CATEGORIES, online)):
        share = np.array([share for share, _ in table.values()])
        kind = random.choice(len(table), size, p=share / share.sum())
        category.append(np.array(list(table), dtype=object)[kind])
        level.append(np.array([level for _, level in table.values()])[kind])
    return Retailers(
        a_place=a_place,
        online=online,
        place=place,
        category=np.concatenate(category),
        level=np.concatenate(level) + random.normal(0, 0.2, len(place)),
        latitude=geography.latitude[place] + random.normal(0, 0.03, len(place)),
        longitude=geography.longitude[place] + random.normal(0, 0.03, len(place)),
    )


def _accounts(
    random: np.random.Generator,
    geography: Geography,
    retailers: Retailers,
    *,
    count: int,
    receivers: int,
    start: int,
    end: int,
) -> Accounts:
    activity = random.gamma(2.0, 1.0, count) + 0.1
    home = any_place(random, geography, count, home=1.0)
    trip_start, trip_end = _trips(random, count, start=start, end=end)
    # what VPN users share
    exits = geography.draw_addresses(random, any_place(random, geography, 30, home=0.3))
    return Accounts(
        activity=activity / activity.sum(),
        home=home,
        log_typical=random.normal(np.log(26), 0.55, count),
        active_hour=random.normal(14.5, 2.5, count),
        online_share=random.beta(2.5, 4.5, count),
        transfer_share=random.beta(1.5, 14, count),
        devices=random.choice([1, 2, 3], count, p=[0.55, 0.3, 0.15]),
        new_devices_at=random.integers(start - DAY, start + 3 * (end - start), count),
        home_address=geography.draw_addresses(random, home),
        work_address=_offices(random, geography)[home, random.integers(0, 20, count)],
        vpn_address=np.where(
            random.random(count) < 0.04, exits[random.integers(0, len(exits), count)], -1
        ),
        liked_pos=ranks(random, retailers.a_place, count * POS_LIKED).reshape(count, -1),
        liked_online=ranks(random, retailers.online, count * ONLINE_LIKED).reshape(count, -1),
        payees=ranks(random, receivers, count * PAYEES, steepness=0.6).reshape(count, -1),
        trip_place=any_place(random, geography, count * TRIPS, home=0.6).reshape(count, -1),
        trip_start=trip_start,
        trip_end=trip_end,
        opened=start - (random.exponential(1_600, count) * DAY).astype(np.int64) - 2 * DAY,
        credit_score=np.clip(random.normal(680, 80, count), 300, 850).round(),
    )


def _offices(random: np.random.Generator, geography: Geography) -> Ints:
    """Return the addresses of 20 offices in each place: [places, 20]."""
    return geography.draw_addresses(random, np.repeat(np.arange(HOMES + ABROAD), 20)).reshape(
        -1, 20
    )


def _trips(random: np.random.Generator, count: int, *, start: int, end: int) -> tuple[Ints, Ints]:
    """Return the starts and ends of trips of 2 to 12 days.

    A third of the possible ones happens in a quarter of a year.
    """
    first = random.integers(start, end, (count, TRIPS))
    happens = random.random((count, TRIPS)) < (end - start) / (270 * DAY)
    return first, np.where(
        happens, first + random.integers(2 * DAY, 12 * DAY, (count, TRIPS)), first
    )
