"""How columns are called in the field, in the tongues that exports are written in.

Names are compared as lower-case words without accents: `TX_DateTime`, `txDatetime` and
`tx datetime` are one.
"""

import re
import unicodedata
from collections.abc import Iterable

MIN_ALIKE = 8  # columns that are called alike but for a number
# Ours, each with names of theirs: the telling ones, then what may be it where nothing else is.
NAMES: dict[str, tuple[str, str]] = {
    "transaction_id": (
        "transaction id, transactionid, txn id, tx id, txid, tid, trx id, trans id, trans num, "
        "payment id, charge id, event id, order id, rrn, arn, transaction ref, transaction "
        "reference, transaction number, id transaction, id transaccion, id transazione, id "
        "transacao, transaktions id, transaktionsnummer, buchungsnummer, belegnummer, "
        "vorgangsnummer, uetr",
        "id, nr, no, num, ref, reference, referenz, reference number, referencia, numero, "
        "uuid, guid, payment, txn, transaction, trans no, invoice no, operation id, row id, "
        "source id",
    ),
    "event_time": (
        "event time, event timestamp, transaction time, transaction timestamp, transaction "
        "date, transaction datetime, tx datetime, tx time, txn time, txn date, trans date, "
        "trans date trans time, transaction dt, transaction date time, payment date, payment "
        "time, paid at, purchased at, occurred at, authorized at, auth time, date time, "
        "datetime, timestamp, ts, booking date, buchungsdatum, buchungstag, buchung, "
        "transaktionsdatum, zeitstempel, zeitpunkt, date heure, date operation, date de l "
        "operation, date transaction, horodatage, fecha hora, fecha operacion, fecha "
        "transaccion, fecha y hora, data ora, data hora, data operazione, data transazione, "
        "data transacao, order date, order time, purchase timestamp",
        "created at, created, create time, creation date, time, date, at, when, datum, zeit, "
        "fecha, data, hora, heure, valuta, unix time, epoch, step, posted at, updated at, day",
    ),
    "account_id": (
        "account id, account, account no, account number, acc, acct, acc id, acc no, acct id, "
        "customer id, customer, cust id, customer no, client id, client, user id, user, uid, "
        "member id, payer id, payer, sender id, sender, sender account, from account, name "
        "orig, nameorig, originator, debtor, debtor iban, konto, kontonummer, konto nr, kunde, "
        "kunden nr, kundennummer, kunden id, karteninhaber, auftraggeber, compte, numero "
        "compte, client no, cuenta, numero cuenta, cliente, id cliente, conto, conta, "
        "rekening, klant id, source, buyer id, buyer, shopper id, shopper reference, wallet id",
        "card id, card, card no, card number, card num, cc num, cc number, pan, pan token, "
        "card token, pan hash, card hash, karte, kartennummer, carte, numero carte, tarjeta, "
        "carta, cartao, iban, origin, from, device user, subscriber id, msisdn",
    ),
    "amount": (
        "amount, amt, transaction amount, transaction amt, tx amount, txn amount, payment "
        "amount, amount usd, amount eur, amount gbp, amount cents, amount minor, amount in "
        "cents, betrag, betrag eur, umsatz, montant, importe, monto, importo, valor, kwota, "
        "belopp, bedrag, belob, montant eur, order total, grand total",
        "total, value, price, sum, gross, net, net amount, gross amount, summe, preis, prix, "
        "precio, prezzo, preco, paid, amount paid, soll, debit",
    ),
    "currency": (
        "currency, currency code, ccy, cur, curr, iso currency, transaction currency, wahrung, "
        "waehrung, devise, moneda, divisa, moeda, valuta",
        "",
    ),
    "is_fraud": (
        "is fraud, isfraud, fraud, tx fraud, fraud flag, fraud label, fraudulent, is "
        "fraudulent, is chargeback, chargeback, charged back, label, labels, class, fraude, es "
        "fraude, est fraude, betrug, ist betrug, frode, e fraude",
        "target, outcome, fraud status, disputed, is disputed, dispute, verdict",
    ),
    "label_known_at": (
        "label known at, reported at, reported, report date, fraud reported at, fraud report "
        "date, chargeback date, chargeback at, charged back at, disputed at, dispute date, "
        "fraud date, gemeldet am, date signalement, fecha reporte, label date",
        "posted, received, notified at",
    ),
    "known_at": ("known at, ingested at, received at, loaded at, inserted at, arrived at", ""),
    "merchant_id": (
        "merchant id, merchant, merchant name, merchant no, mid, shop id, shop, store id, "
        "store, terminal id, terminal, retailer, retailer id, vendor, vendor id, seller, "
        "seller id, handler, haendler, commercant, marchand, comercio, comerciante, esercente, "
        "negozio, lojista, card acceptor",
        "payee, empfanger, empfaenger, description, descriptor, target",
    ),
    "merchant_category": (
        "mcc, merchant category code, merchant category, mcc code, category code",
        "",
    ),
    "merchant_country": (
        "merchant country, merchant country code, acq country, acquirer country, acquiring "
        "country, shop country, terminal country",
        "",
    ),
    "merchant_latitude": ("merchant latitude, merch lat, merchant lat", ""),
    "merchant_longitude": (
        "merchant longitude, merch long, merch lon, merchant long, merchant lon",
        "",
    ),
    "country": (
        "country, country code, card country, issuer country, issuing country, bin country, "
        "billing country, customer country, account country, land, pays, pais, paese",
        "",
    ),
    "latitude": ("latitude, lat, geo lat", ""),
    "longitude": ("longitude, lon, long, lng, geo lon", ""),
    "ip_address": (
        "ip address, ip, ip addr, client ip, customer ip, remote ip, remote addr, user ip, "
        "buyer ip, adresse ip, direccion ip",
        "",
    ),
    "device_id": (
        "device id, device, device fingerprint, fingerprint, device hash, gerat, geraete id",
        "",
    ),
    "counterparty_id": (
        "counterparty id, counterparty, receiver id, receiver, receiver account, recipient, "
        "recipient id, beneficiary, beneficiary id, name dest, namedest, to account, payee id, "
        "creditor, creditor iban, dest, destination, empfanger, empfaenger, begunstigter, "
        "beguenstigter, zahlungsempfanger, destinataire, beneficiaire, beneficiario, "
        "destinatario, gegenkonto, target",
        "to, payee, partner",
    ),
    "channel": (
        "channel, use chip, entry mode, pos entry mode, payment channel, kanal, canal, canale, "
        "payment method, zahlungsart, payment type, mode paiement, medio pago",
        "method, product cd, type, tx type, transaction type",
    ),
    "declined": ("declined, is declined, refused, abgelehnt, refuse, rechazado", ""),
    "account_opened_at": (
        "account opened at, account created at, account created, account open date, customer "
        "since, signup date, signed up at, registered at, registration date, user created at, "
        "open date",
        "",
    ),
    "credit_score": ("credit score, fico, fico score, schufa", ""),
    "social_event": ("social event", ""),
    "social_event_at": ("social event at", ""),
}
# What none of ours holds but a history may be kept by: names, and what each is
KEYS: dict[str, tuple[str, str]] = {
    "email": (
        "email, e mail, mail, email hash, emaildomain, email domain, correo, courriel",
        "e-mail",
    ),
    "card": (
        "card, card id, card no, card number, card num, cc num, cc number, pan, pan token, "
        "card token, pan hash, card hash, kartennummer, numero carte, tarjeta",
        "card",
    ),
    "bin": ("bin, card bin, bin6, bin8, iin", "first digits of the card"),
    "zip": (
        "zip, zip code, zipcode, postal code, postcode, post code, plz, postleitzahl, code "
        "postal, codigo postal, cep, billing zip, shipping zip",
        "postal code",
    ),
    "phone": ("phone, phone number, mobile, msisdn, telefon, telephone, telefono", "phone number"),
    "address": (
        "address, addr, addr1, billing address, shipping address, anschrift, adresse, direccion",
        "address",
    ),
    "iban": ("iban, counterparty iban, bank account", "bank account"),
}
NO_PAYMENT = (  # values of a type that say that a row is no payment
    "refund refunded reversal reversed fee fees payout adjustment chargeback dispute void "
    "voided remboursement annulation frais ruckerstattung erstattung gutschrift storno gebuhr "
    "entgelt reembolso devolucion comision anulacion rimborso storno commissione stornoumsatz "
    "topup deposit cash_in interest"
)
DECLINED = (
    "declined decline refused failed failure rejected denied abgelehnt refuse rechazado rifiutato"
)
FRAUD = (
    "1 1.0 true t yes y fraud fraudulent f chargeback oui ja si sim betrug fraude frode bad "
    "confirmed confirmed_fraud positive stolen"
)
LEGITIMATE = (
    "0 0.0 false no n legit legitimate genuine normal good ok non nein nao legal valid "
    "negative not_fraud non_fraud cleared"
)
UNLABELLED = (
    "2 2.0 -1 -1.0 unknown pending unlabelled unlabeled open review undecided offen inconnu ?"
)
PARTS: dict[str, str] = {
    "year": "year, jahr, annee, ano, anio, anno, yr, tx year",
    "month": "month, monat, mois, mes, mese, mon",
    "day": "day, tag, jour, dia, giorno, day of month",
    "hour": "hour, stunde, heure, hora, ora, hr",
    "minute": "minute, min, minuto",
    "second": "second, sec, sekunde, seconde, segundo",
}


def words_of(name: str) -> tuple[str, ...]:
    """A column's name as lower-case words without accents.

    >>> words_of("TX_DateTime"), words_of("Empfänger"), words_of("Is Fraud?"), words_of("accountID")
    (('tx', 'date', 'time'), ('empfanger',), ('is', 'fraud'), ('account', 'id'))
    """
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss"))
    plain = "".join(sign for sign in plain if not unicodedata.combining(sign))
    parted = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", plain)
    parted = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", parted)
    return tuple(re.findall(r"[a-z]+[0-9]*|[0-9]+", parted.lower()))


def listed(text: str) -> list[str]:
    """The names of a list with commas."""
    return [one.strip() for one in text.split(",") if one.strip()]


def likeness(name: str, known: Iterable[str]) -> int:
    """How well a name is one of those known: 100 the same words, less where it only ends so.

    >>> likeness("TX_AMOUNT", ["amount"]), likeness("TxnID", ["txn id"]), likeness("V1", ["amount"])
    (60, 100, 0)
    """
    words = words_of(name)
    joined = "".join(words)
    best = 0
    for one in known:
        other = tuple(one.split())
        if joined == "".join(other):
            return 100
        ends = len(words) > len(other) and words[-len(other) :] == other
        starts = len(words) > len(other) and words[: len(other)] == other
        if ends or (starts and len(other) > 1):
            best = max(best, 55 + 5 * len(other))
    return best


def find_alike(names: Iterable[str]) -> dict[str, list[str]]:
    """Names that are alike but for a number at their end, eight of them at least, by their start.

    >>> find_alike([f"V{at}" for at in range(1, 10)] + ["card1"])["V"][:2]
    ['V1', 'V2']
    """
    found: dict[str, list[str]] = {}
    for name in names:
        parts = re.fullmatch(r"(.*?[A-Za-z_.\- ])([0-9]+)", name)
        if parts and parts[1] != "column":
            found.setdefault(parts[1], []).append(name)
    return {start: alike for start, alike in found.items() if len(alike) >= MIN_ALIKE}
