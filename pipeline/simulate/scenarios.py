"""Fraud, planted by named scenarios; what tells each lies mostly in one group of facts.

It never lies in one column. A scenario takes the world and the legitimate payments, and returns
exactly as many payments as it is asked for.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from pipeline.simulate.geography import HOMES, Flags, Floats, Ints
from pipeline.simulate.legitimate import HOUR, NONE, ONLINE, POS, TRANSFER, amounts, clock_times
from pipeline.simulate.population import DAY, DEVICES, World, any_place, ranks

Scenario = Callable[[np.random.Generator, World, pd.DataFrame, int], pd.DataFrame]

WEEKS_COMPROMISED = 5
FRAUDS_A_RETAILER = 45
SCENARIOS = {
    "stolen_card_online": (
        "A stolen card is used online several times within hours, "
        "mostly by a new device and from abroad."
    ),
    "compromised_retailer": (
        "For some weeks about half of what is bought at one retailer is fraud "
        "that looks usual otherwise."
    ),
    "account_takeover": (
        "Days after a public breach or phishing notice a new device sends larger sums "
        "to a new receiver."
    ),
    "card_testing": (
        "Tiny online payments from one address try out the cards of many accounts within two hours."
    ),
    "impossible_travel": (
        "A copied card pays in a shop too far from where the card was hours before."
    ),
    "friendly_fraud": (
        "The owner pays as usual and disputes it later: nothing in the payment tells."
    ),
}
SHARES = {
    "stolen_card_online": 0.28,
    "compromised_retailer": 0.22,
    "account_takeover": 0.16,
    "card_testing": 0.12,
    "impossible_travel": 0.11,
    "friendly_fraud": 0.11,
}


def planted_frauds(
    random: np.random.Generator, world: World, legitimate: pd.DataFrame, count: int
) -> pd.DataFrame:
    """Return `count` frauds with their scenario, and `warned_at`, when a public notice came."""
    upto = np.rint(np.cumsum(list(SHARES.values())) * count).astype(np.int64)
    sizes = np.diff(upto, prepend=0)
    planted = []
    for (name, size), scenario in zip(zip(SHARES, sizes, strict=True), _PLANTS, strict=True):
        rows = scenario(random, world, legitimate, int(size))
        rows["scenario"] = name
        planted.append(rows)
    frauds = pd.concat(planted, ignore_index=True)
    frauds["warned_at"] = frauds["warned_at"].fillna(NONE).astype(np.int64)
    frauds["time"] = np.where(
        frauds["time"] < world.end, frauds["time"], 2 * world.end - 1 - frauds["time"]
    )
    return frauds


def _stolen_card_online(
    random: np.random.Generator, world: World, legitimate: pd.DataFrame, count: int
) -> pd.DataFrame:
    attack, attacks = _bursts(random, count, 2, 7)
    victim = random.integers(0, len(world.accounts), attacks)
    foreign = random.random(attacks) < 0.72
    place = np.where(
        foreign, any_place(random, world.geography, attacks, home=0.25), world.accounts.home[victim]
    )
    address = world.geography.draw_addresses(random, place)
    own_device = random.random(attacks) < 0.2
    device = np.where(own_device, victim * DEVICES, _new_device(random, victim))
    begin = clock_times(random, world, random.uniform(0, 24, attacks))
    return _payments(
        random,
        world,
        account=victim[attack],
        time=begin[attack] + _gaps(random, attack, 0.6 * HOUR),
        channel=np.full(count, ONLINE),
        place=place[attack],
        retailer=world.retailers.on_line(
            ranks(random, world.retailers.online, count, steepness=0.6)
        ),
        address=address[attack],
        device=device[attack],
        raised=random.uniform(0.8, 3.5, count),
    )


def _compromised_retailer(
    random: np.random.Generator, world: World, legitimate: pd.DataFrame, count: int
) -> pd.DataFrame:
    """Copy what the retailer's legitimate customers did there to other days of some weeks."""
    weeks = max(1, round(count / FRAUDS_A_RETAILER))
    span = min(WEEKS_COMPROMISED * 7 * DAY, (world.end - world.start) // 2)
    bought = legitimate[legitimate["retailer"] != NONE].sort_values(
        ["retailer", "time"], kind="stable"
    )
    customers = bought["retailer"].value_counts().sort_index()
    # so many legitimate ones that half of those weeks is fraud
    usual = 0.8 * count / weeks * (world.end - world.start) / span
    closest = np.abs(np.log(customers.to_numpy() / max(usual, 1.0))).argsort(kind="stable")[
        : 4 * weeks
    ]
    retailer = customers.index.to_numpy()[random.permutation(closest)[:weeks]]
    attack = random.integers(0, len(retailer), count)
    first = np.searchsorted(bought["retailer"], retailer)
    customer = bought.iloc[
        first[attack] + random.integers(0, customers[retailer].to_numpy()[attack])
    ]
    latest = (world.end - world.start - span) // DAY
    begin = world.start + np.linspace(0, latest, len(retailer)).astype(np.int64) * DAY
    day = begin[attack] + random.integers(0, span // DAY, count) * DAY
    hour = (customer["time"].to_numpy() + random.integers(0, HOUR, count) - world.start) % DAY
    return _copied(random, world, customer, time=day + hour, raised=random.uniform(0.9, 2.2, count))


def _account_takeover(
    random: np.random.Generator, world: World, legitimate: pd.DataFrame, count: int
) -> pd.DataFrame:
    attack, attacks = _bursts(random, count, 1, 4)
    victim = random.integers(0, len(world.accounts), attacks)
    begin = clock_times(random, world, random.normal(14, 5, attacks))
    foreign = random.random(attacks) < 0.2
    place = np.where(
        foreign, any_place(random, world.geography, attacks, home=0.4), world.accounts.home[victim]
    )
    address = world.geography.draw_addresses(random, place)
    device = np.where(random.random(attacks) < 0.12, victim * DEVICES, _new_device(random, victim))
    mule = world.receivers + random.integers(0, max(1, attacks // 5), attacks)
    payee = np.where(
        random.random(attacks) < 0.35, random.integers(0, world.receivers, attacks), mule
    )
    warned_at = begin - (random.uniform(6, 120, attacks) * HOUR).astype(np.int64)
    rows = _payments(
        random,
        world,
        account=victim[attack],
        time=begin[attack] + _gaps(random, attack, 2 * HOUR),
        channel=np.full(count, TRANSFER),
        place=place[attack],
        retailer=np.full(count, NONE),
        address=address[attack],
        device=device[attack],
        raised=random.uniform(0.8, 3.5, count),
    )
    return rows.assign(payee=payee[attack], warned_at=warned_at[attack])


def _card_testing(
    random: np.random.Generator, world: World, legitimate: pd.DataFrame, count: int
) -> pd.DataFrame:
    attack, attacks = _bursts(random, count, 12, 30)
    place = any_place(random, world.geography, attacks, home=0.5)
    victim = random.integers(0, len(world.accounts), count)
    retailer = world.retailers.on_line(
        ranks(random, world.retailers.online, attacks, steepness=0.5)
    )
    begin = clock_times(random, world, random.uniform(0, 24, attacks))
    rows = _payments(
        random,
        world,
        account=victim,
        time=begin[attack] + random.integers(0, 2 * HOUR, count),
        channel=np.full(count, ONLINE),
        place=place[attack],
        retailer=retailer[attack],
        address=world.geography.draw_addresses(random, place)[attack],
        device=np.where(random.random(count) < 0.3, NONE, _new_device(random, victim)),
        raised=np.ones(count),
    )
    return rows.assign(amount=random.uniform(0.5, 4.0, count), located=False)


def _impossible_travel(
    random: np.random.Generator, world: World, legitimate: pd.DataFrame, count: int
) -> pd.DataFrame:
    """Pay far away within hours of a legitimate payment in a shop."""
    attack, attacks = _bursts(random, count, 1, 2)
    in_shops = legitimate[legitimate["channel"] == POS]
    before = in_shops.iloc[random.integers(0, len(in_shops), attacks)]
    home = before["place"].to_numpy()
    place = any_place(random, world.geography, attacks, home=0.5)
    place = np.where(place == home, (home + 1) % HOMES, place)
    begin = before["time"].to_numpy() + random.integers(HOUR // 3, 4 * HOUR, attacks)
    return _payments(
        random,
        world,
        account=before["account"].to_numpy()[attack],
        time=begin[attack] + _gaps(random, attack, 0.5 * HOUR),
        channel=np.full(count, POS),
        place=place[attack],
        retailer=world.retailers.in_place(
            place[attack], ranks(random, world.retailers.a_place, count)
        ),
        address=np.full(count, NONE),
        device=np.full(count, NONE),
        raised=random.uniform(0.8, 2.5, count),
    )


def _friendly_fraud(
    random: np.random.Generator, world: World, legitimate: pd.DataFrame, count: int
) -> pd.DataFrame:
    remote = legitimate[legitimate["channel"] == ONLINE]
    usual = remote.iloc[random.integers(0, len(remote), count)]
    later = (
        usual["time"].to_numpy()
        + random.integers(1, 4, count) * DAY
        + random.integers(-HOUR, HOUR, count)
    )
    return _copied(random, world, usual, time=later, raised=np.ones(count))


_PLANTS: tuple[Scenario, ...] = (
    _stolen_card_online,
    _compromised_retailer,
    _account_takeover,
    _card_testing,
    _impossible_travel,
    _friendly_fraud,
)


def _payments(
    random: np.random.Generator, world: World, *, raised: Floats, **columns: Ints
) -> pd.DataFrame:
    """Assemble payments whose amounts are usual ones, multiplied by `raised`."""
    usual = amounts(random, world, columns["account"], columns["retailer"], columns["channel"])
    located: Flags = (columns["address"] != NONE) & (random.random(len(usual)) < 0.35)
    return pd.DataFrame(
        {**columns, "payee": NONE, "amount": usual * raised, "located": located, "warned_at": NONE}
    )


def _copied(
    random: np.random.Generator, world: World, rows: pd.DataFrame, *, time: Ints, raised: Floats
) -> pd.DataFrame:
    kept = {
        name: rows[name].to_numpy()
        for name in ("account", "channel", "place", "retailer", "address", "device")
    }
    return _payments(random, world, time=time, raised=raised, **kept)


def _bursts(random: np.random.Generator, count: int, least: int, most: int) -> tuple[Ints, int]:
    """Return the attack of each of `count` payments, and how many attacks there are.

    An attack has `least` to `most` payments.
    """
    attack = np.repeat(np.arange(count), random.integers(least, most + 1, count))[:count]
    return attack, int(attack[-1]) + 1 if count else 0


def _gaps(random: np.random.Generator, attack: Ints, mean: float) -> Ints:
    """Return how long after its attack's first each payment comes, with gaps of this mean."""
    gap = random.exponential(mean, len(attack))
    first = np.searchsorted(attack, attack)
    total = np.cumsum(gap)
    return (total - total[first]).astype(np.int64)


def _new_device(random: np.random.Generator, account: Ints) -> Ints:
    return account * DEVICES + random.integers(DEVICES // 2, DEVICES, len(account))
