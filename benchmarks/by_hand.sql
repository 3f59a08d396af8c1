-- The groups amount, clock, retailer, receiver and sender as one DuckDB query: what ours has to be as fast as.
--
-- Windows of the account stand in one SELECT, since DuckDB sorts once for all that share a key; retailers and receivers, which
-- not every payment has, stand apart and are joined. A label is remembered for 90 days, and comes within 120. What was known at
-- a moment is found by ASOF joins on running totals. The simulated labels are never taken back, so nothing is done about that.
WITH payments AS MATERIALIZED (
    SELECT row_number() OVER () AS row_id, transaction_id, account_id, event_time, as_of, amount, merchant_id,
        merchant_category,
        counterparty_id, account_opened_at, channel, epoch_us(as_of) AS at_us, hour(event_time) AS hour_of_day,
        isodow(event_time) - 1 AS weekday, floor(2 * log2(amount + 1.003)) AS band
    FROM transactions
),
seen AS (
    SELECT *, count(*) OVER hour AS count_1h, sum(amount) OVER hour AS sum_1h, max(amount) OVER hour AS most_1h,
        count(*) OVER day AS count_1d, sum(amount) OVER day AS sum_1d, max(amount) OVER day AS most_1d,
        count(*) OVER week AS count_7d, sum(amount) OVER week AS sum_7d, max(amount) OVER week AS most_7d,
        count(*) OVER month AS count_30d, sum(amount) OVER month AS sum_30d, max(amount) OVER month AS most_30d,
        count(*) OVER quarter AS count_90d, sum(amount) OVER quarter AS sum_90d, max(amount) OVER quarter AS most_90d,
        stddev_pop(amount) OVER quarter AS spread_90d, max(at_us) OVER quarter AS last_us,
        count(*) OVER at_hour AS same_hour, count(*) OVER in_band AS same_band,
        CASE WHEN merchant_id IS NOT NULL THEN CAST(count(*) OVER at_merchant = 0 AS INTEGER) END AS merchant_new,
        CASE WHEN counterparty_id IS NOT NULL THEN CAST(count(*) OVER to_receiver = 0 AS INTEGER) END AS receiver_new
    FROM payments
    WINDOW hour AS (PARTITION BY account_id ORDER BY at_us RANGE BETWEEN 3600000000 PRECEDING AND 1 PRECEDING),
        day AS (PARTITION BY account_id ORDER BY at_us RANGE BETWEEN 86400000000 PRECEDING AND 1 PRECEDING),
        week AS (PARTITION BY account_id ORDER BY at_us RANGE BETWEEN 604800000000 PRECEDING AND 1 PRECEDING),
        month AS (PARTITION BY account_id ORDER BY at_us RANGE BETWEEN 2592000000000 PRECEDING AND 1 PRECEDING),
        quarter AS (PARTITION BY account_id ORDER BY at_us RANGE BETWEEN 7776000000000 PRECEDING AND 1 PRECEDING),
        at_hour AS (PARTITION BY account_id, hour_of_day ORDER BY at_us RANGE BETWEEN 7776000000000 PRECEDING AND 1 PRECEDING),
        in_band AS (PARTITION BY account_id, band ORDER BY at_us RANGE BETWEEN 7776000000000 PRECEDING AND 1 PRECEDING),
        at_merchant AS (PARTITION BY account_id, merchant_id
            ORDER BY at_us RANGE BETWEEN 7776000000000 PRECEDING AND 1 PRECEDING),
        to_receiver AS (PARTITION BY account_id, counterparty_id
            ORDER BY at_us RANGE BETWEEN 7776000000000 PRECEDING AND 1 PRECEDING)
),
flagged AS (
    SELECT *, CASE WHEN amount > 3.000000003 * (sum_90d / count_90d) THEN 1 ELSE 0 END AS is_high,
        coalesce(merchant_new, 0) + coalesce(receiver_new, 0) AS new_values
    FROM seen
),
of_account AS MATERIALIZED (
    SELECT *, sum(is_high) OVER fortnight AS high_14d, sum(new_values) OVER hour AS new_1h, sum(new_values) OVER day AS new_1d,
        sum(new_values) OVER week AS new_7d, sum(new_values) OVER month AS new_30d
    FROM flagged
    WINDOW hour AS (PARTITION BY account_id ORDER BY at_us RANGE BETWEEN 3600000000 PRECEDING AND 1 PRECEDING),
        day AS (PARTITION BY account_id ORDER BY at_us RANGE BETWEEN 86400000000 PRECEDING AND 1 PRECEDING),
        week AS (PARTITION BY account_id ORDER BY at_us RANGE BETWEEN 604800000000 PRECEDING AND 1 PRECEDING),
        fortnight AS (PARTITION BY account_id ORDER BY at_us RANGE BETWEEN 1209600000000 PRECEDING AND 1 PRECEDING),
        month AS (PARTITION BY account_id ORDER BY at_us RANGE BETWEEN 2592000000000 PRECEDING AND 1 PRECEDING)
),
of_merchant AS (
    SELECT row_id, count(*) OVER day AS count_1d, count(*) OVER week AS count_7d, count(*) OVER month AS count_30d,
        avg(amount) OVER month AS mean_30d, stddev_pop(amount) OVER month AS spread_30d
    FROM payments WHERE merchant_id IS NOT NULL
    WINDOW day AS (PARTITION BY merchant_id ORDER BY at_us RANGE BETWEEN 86400000000 PRECEDING AND 1 PRECEDING),
        week AS (PARTITION BY merchant_id ORDER BY at_us RANGE BETWEEN 604800000000 PRECEDING AND 1 PRECEDING),
        month AS (PARTITION BY merchant_id ORDER BY at_us RANGE BETWEEN 2592000000000 PRECEDING AND 1 PRECEDING)
),
of_receiver AS (
    SELECT row_id, count(*) OVER day AS count_1d, count(*) OVER week AS count_7d, count(*) OVER month AS count_30d,
        coalesce(sum(receiver_new) OVER day, 0) AS new_1d, coalesce(sum(receiver_new) OVER week, 0) AS new_7d,
        coalesce(sum(receiver_new) OVER month, 0) AS new_30d, coalesce(sum(amount) OVER day, 0) AS inflow_1d,
        coalesce(sum(amount) OVER week, 0) AS inflow_7d, coalesce(sum(amount) OVER month, 0) AS inflow_30d
    FROM of_account WHERE counterparty_id IS NOT NULL
    WINDOW day AS (PARTITION BY counterparty_id ORDER BY at_us RANGE BETWEEN 86400000000 PRECEDING AND 1 PRECEDING),
        week AS (PARTITION BY counterparty_id ORDER BY at_us RANGE BETWEEN 604800000000 PRECEDING AND 1 PRECEDING),
        month AS (PARTITION BY counterparty_id ORDER BY at_us RANGE BETWEEN 2592000000000 PRECEDING AND 1 PRECEDING)
),
outflow AS (
    SELECT paid.row_id, sum(spent.amount) AS outflow_7d,
        sum(spent.amount) FILTER (WHERE spent.at_us >= paid.at_us - 86400000000) AS outflow_1d
    FROM payments AS paid JOIN payments AS spent ON spent.account_id = paid.counterparty_id
        AND spent.at_us < paid.at_us AND spent.at_us >= paid.at_us - 604800000000
    GROUP BY paid.row_id
),
received AS (
    SELECT paid.row_id, sum(came.amount) AS received_7d,
        sum(came.amount) FILTER (WHERE came.at_us >= paid.at_us - 86400000000) AS received_1d
    FROM payments AS paid JOIN payments AS came ON came.counterparty_id = paid.account_id
        AND came.at_us < paid.at_us AND came.at_us >= paid.at_us - 604800000000
    GROUP BY paid.row_id
),
judged AS MATERIALIZED (
    SELECT account_id, merchant_id, counterparty_id, CAST(is_fraud AS INTEGER) AS fraud,
        greatest(epoch_us(labels.known_at), at_us + 1) AS seen_us
    FROM labels JOIN payments USING (transaction_id)
    WHERE is_fraud IS NOT NULL AND seen_us <= at_us + 10368000000000
),
merchant_totals AS (
    SELECT merchant_id, seen_us, fraud, sum(fraud) OVER so_far AS frauds, count(*) OVER so_far AS labels
    FROM judged WHERE merchant_id IS NOT NULL WINDOW so_far AS (PARTITION BY merchant_id ORDER BY seen_us)
),
merchant_known AS MATERIALIZED (
    SELECT merchant_id, seen_us, frauds, labels, max(CASE WHEN fraud = 1 THEN seen_us END) OVER so_far AS last_fraud,
        max(CASE WHEN fraud = 0 THEN seen_us END) OVER so_far AS last_honest,
        max(CASE WHEN fraud = 0 THEN frauds END) OVER so_far AS before_run
    FROM merchant_totals WINDOW so_far AS (PARTITION BY merchant_id ORDER BY seen_us)
),
merchant_fraud AS (
    SELECT row_id, coalesce(known.frauds, 0) - coalesce(known_1d.frauds, 0) AS frauds_1d,
        coalesce(known.labels, 0) - coalesce(known_1d.labels, 0) AS labels_1d,
        coalesce(known.frauds, 0) - coalesce(known_7d.frauds, 0) AS frauds_7d,
        coalesce(known.labels, 0) - coalesce(known_7d.labels, 0) AS labels_7d,
        coalesce(known.frauds, 0) - coalesce(known_30d.frauds, 0) AS frauds_30d,
        coalesce(known.labels, 0) - coalesce(known_30d.labels, 0) AS labels_30d,
        CASE WHEN known.last_fraud > at_us - 7776000000000 THEN (at_us - known.last_fraud) / 86400000000 END AS since_fraud,
        CASE WHEN known.last_honest > at_us - 7776000000000 THEN (at_us - known.last_honest) / 86400000000 END AS since_honest,
        CASE WHEN known.last_honest > at_us - 7776000000000 THEN known.frauds - known.before_run
            ELSE coalesce(known.frauds, 0) - coalesce(known_90d.frauds, 0) END AS run
    FROM (SELECT row_id, merchant_id, at_us FROM payments WHERE merchant_id IS NOT NULL) AS asking
    ASOF LEFT JOIN merchant_known AS known ON asking.merchant_id = known.merchant_id AND at_us >= known.seen_us
    ASOF LEFT JOIN merchant_known AS known_1d
        ON asking.merchant_id = known_1d.merchant_id AND at_us - 86400000000 >= known_1d.seen_us
    ASOF LEFT JOIN merchant_known AS known_7d
        ON asking.merchant_id = known_7d.merchant_id AND at_us - 604800000000 >= known_7d.seen_us
    ASOF LEFT JOIN merchant_known AS known_30d
        ON asking.merchant_id = known_30d.merchant_id AND at_us - 2592000000000 >= known_30d.seen_us
    ASOF LEFT JOIN merchant_known AS known_90d
        ON asking.merchant_id = known_90d.merchant_id AND at_us - 7776000000000 >= known_90d.seen_us
),
receiver_totals AS (
    SELECT counterparty_id, seen_us, fraud, sum(fraud) OVER so_far AS frauds, count(*) OVER so_far AS labels
    FROM judged WHERE counterparty_id IS NOT NULL WINDOW so_far AS (PARTITION BY counterparty_id ORDER BY seen_us)
),
receiver_known AS MATERIALIZED (
    SELECT counterparty_id, seen_us, frauds, labels, max(CASE WHEN fraud = 1 THEN seen_us END) OVER so_far AS last_fraud,
        max(CASE WHEN fraud = 0 THEN seen_us END) OVER so_far AS last_honest,
        max(CASE WHEN fraud = 0 THEN frauds END) OVER so_far AS before_run
    FROM receiver_totals WINDOW so_far AS (PARTITION BY counterparty_id ORDER BY seen_us)
),
receiver_fraud AS (
    SELECT row_id, coalesce(known.frauds, 0) - coalesce(known_30d.frauds, 0) AS frauds_30d,
        coalesce(known.labels, 0) - coalesce(known_30d.labels, 0) AS labels_30d,
        CASE WHEN known.last_fraud > at_us - 7776000000000 THEN (at_us - known.last_fraud) / 86400000000 END AS since_fraud,
        CASE WHEN known.last_honest > at_us - 7776000000000 THEN (at_us - known.last_honest) / 86400000000 END AS since_honest,
        CASE WHEN known.last_honest > at_us - 7776000000000 THEN known.frauds - known.before_run
            ELSE coalesce(known.frauds, 0) - coalesce(known_90d.frauds, 0) END AS run
    FROM (SELECT row_id, counterparty_id, at_us FROM payments WHERE counterparty_id IS NOT NULL) AS asking
    ASOF LEFT JOIN receiver_known AS known ON asking.counterparty_id = known.counterparty_id AND at_us >= known.seen_us
    ASOF LEFT JOIN receiver_known AS known_30d
        ON asking.counterparty_id = known_30d.counterparty_id AND at_us - 2592000000000 >= known_30d.seen_us
    ASOF LEFT JOIN receiver_known AS known_90d
        ON asking.counterparty_id = known_90d.counterparty_id AND at_us - 7776000000000 >= known_90d.seen_us
),
account_totals AS (
    SELECT account_id, seen_us, fraud, sum(fraud) OVER so_far AS frauds, count(*) OVER so_far AS labels
    FROM judged WINDOW so_far AS (PARTITION BY account_id ORDER BY seen_us)
),
account_known AS MATERIALIZED (
    SELECT account_id, seen_us, frauds, labels, max(CASE WHEN fraud = 1 THEN seen_us END) OVER so_far AS last_fraud,
        max(CASE WHEN fraud = 0 THEN seen_us END) OVER so_far AS last_honest,
        max(CASE WHEN fraud = 0 THEN frauds END) OVER so_far AS before_run
    FROM account_totals WINDOW so_far AS (PARTITION BY account_id ORDER BY seen_us)
),
account_fraud AS (
    SELECT row_id, coalesce(known.frauds, 0) - coalesce(known_30d.frauds, 0) AS frauds_30d,
        coalesce(known.labels, 0) - coalesce(known_30d.labels, 0) AS labels_30d,
        CASE WHEN known.last_fraud > at_us - 7776000000000 THEN (at_us - known.last_fraud) / 86400000000 END AS since_fraud,
        CASE WHEN known.last_honest > at_us - 7776000000000 THEN (at_us - known.last_honest) / 86400000000 END AS since_honest,
        CASE WHEN known.last_honest > at_us - 7776000000000 THEN known.frauds - known.before_run
            ELSE coalesce(known.frauds, 0) - coalesce(known_90d.frauds, 0) END AS run
    FROM (SELECT row_id, account_id, at_us FROM payments) AS asking
    ASOF LEFT JOIN account_known AS known ON asking.account_id = known.account_id AND at_us >= known.seen_us
    ASOF LEFT JOIN account_known AS known_30d
        ON asking.account_id = known_30d.account_id AND at_us - 2592000000000 >= known_30d.seen_us
    ASOF LEFT JOIN account_known AS known_90d
        ON asking.account_id = known_90d.account_id AND at_us - 7776000000000 >= known_90d.seen_us
)
SELECT transaction_id, account_id, event_time, as_of, amount,
    amount AS amount_paid,
    CASE WHEN amount = 0 THEN 0 WHEN amount % 1000 = 0 THEN 1000 WHEN amount % 100 = 0 THEN 100 WHEN amount % 10 = 0 THEN 10
        WHEN amount % 1 = 0 THEN 1 ELSE 0 END AS amount_round_to,
    amount / CASE WHEN amount < 100 THEN 100 WHEN amount < 200 THEN 200 WHEN amount < 500 THEN 500 WHEN amount < 1000 THEN 1000
        WHEN amount < 2000 THEN 2000 WHEN amount < 5000 THEN 5000 WHEN amount < 10000 THEN 10000 END AS amount_of_limit,
    CASE WHEN amount_of_limit >= 0.98 THEN 1 ELSE 0 END AS amount_below_limit,
    a.sum_7d / a.count_7d AS amount_mean_7d, a.sum_30d / a.count_30d AS amount_mean_30d, sum_90d / count_90d AS amount_mean_90d,
    amount / (amount_mean_7d + 1) AS amount_over_mean_7d, amount / (amount_mean_30d + 1) AS amount_over_mean_30d,
    amount / (amount_mean_90d + 1) AS amount_over_mean_90d, amount / (most_90d + 1) AS amount_over_most_90d,
    CAST(amount > most_90d AS INTEGER) AS amount_is_largest, (amount - amount_mean_90d) / (spread_90d + 1) AS amount_z_90d,
    (same_band + 1) / (count_90d + 20) AS amount_band_share, coalesce(high_14d, 0) AS amount_high_14d,
    sin(hour_of_day * 2 * pi() / 24) AS clock_hour_sine, cos(hour_of_day * 2 * pi() / 24) AS clock_hour_cosine,
    sin(weekday * 2 * pi() / 7) AS clock_weekday_sine, cos(weekday * 2 * pi() / 7) AS clock_weekday_cosine,
    CAST(weekday >= 5 AS INTEGER) AS clock_weekend, CAST(hour_of_day <= 6 AS INTEGER) AS clock_night,
    (at_us - last_us) / 1000000 AS clock_seconds_since_previous, (same_hour + 1) / (count_90d + 24) AS clock_hour_share,
    m.count_1d AS merchant_count_1d, m.count_7d AS merchant_count_7d, m.count_30d AS merchant_count_30d,
    (m.count_1d + 1) / (m.count_30d / 30 + 1) AS merchant_volume_ratio, amount / (mean_30d + 1) AS merchant_amount_over_mean,
    (amount - mean_30d) / (spread_30d + 1) AS merchant_amount_z, merchant_new AS merchant_new_for_account,
    merchant_category AS merchant_category_code,
    mf.frauds_1d AS merchant_known_frauds_1d,
    (coalesce(mf.frauds_1d, 0) + 0.1) / (coalesce(mf.labels_1d, 0) + 20) AS merchant_fraud_rate_1d,
    mf.frauds_7d AS merchant_known_frauds_7d,
    (coalesce(mf.frauds_7d, 0) + 0.1) / (coalesce(mf.labels_7d, 0) + 20) AS merchant_fraud_rate_7d,
    mf.frauds_30d AS merchant_known_frauds_30d,
    (coalesce(mf.frauds_30d, 0) + 0.1) / (coalesce(mf.labels_30d, 0) + 20) AS merchant_fraud_rate_30d,
    mf.since_fraud AS merchant_days_since_fraud, mf.since_honest AS merchant_days_since_legitimate,
    mf.run AS merchant_fraud_run,
    receiver_new AS receiver_new_for_account, CAST(counterparty_id = account_id AS INTEGER) AS receiver_is_payer,
    r.count_1d AS receiver_count_1d, r.new_1d AS receiver_new_accounts_1d, inflow_1d AS receiver_inflow_1d,
    r.count_7d AS receiver_count_7d, r.new_7d AS receiver_new_accounts_7d, inflow_7d AS receiver_inflow_7d,
    r.count_30d AS receiver_count_30d, r.new_30d AS receiver_new_accounts_30d, inflow_30d AS receiver_inflow_30d,
    amount / (inflow_30d / nullif(r.count_30d, 0) + 1) AS receiver_amount_over_mean,
    CASE WHEN counterparty_id IS NOT NULL THEN coalesce(outflow_1d, 0) END AS receiver_outflow_1d,
    CASE WHEN counterparty_id IS NOT NULL THEN coalesce(outflow_7d, 0) END AS receiver_outflow_7d,
    receiver_outflow_7d / (inflow_7d + 1) AS receiver_passed_on_7d,
    rf.frauds_30d AS receiver_known_frauds_30d,
    (coalesce(rf.frauds_30d, 0) + 0.1) / (coalesce(rf.labels_30d, 0) + 20) AS receiver_fraud_rate_30d,
    rf.since_fraud AS receiver_days_since_fraud, rf.since_honest AS receiver_days_since_legitimate,
    rf.run AS receiver_fraud_run,
    a.count_1h AS account_count_1h, coalesce(a.sum_1h, 0) AS account_sum_1h, a.most_1h AS account_most_1h,
    coalesce(a.new_1h, 0) AS account_new_values_1h,
    a.count_1d AS account_count_1d, coalesce(a.sum_1d, 0) AS account_sum_1d, a.most_1d AS account_most_1d,
    coalesce(a.new_1d, 0) AS account_new_values_1d,
    a.count_7d AS account_count_7d, coalesce(a.sum_7d, 0) AS account_sum_7d, a.most_7d AS account_most_7d,
    coalesce(a.new_7d, 0) AS account_new_values_7d,
    a.count_30d AS account_count_30d, coalesce(a.sum_30d, 0) AS account_sum_30d, a.most_30d AS account_most_30d,
    coalesce(a.new_30d, 0) AS account_new_values_30d,
    a.sum_1h / a.count_1h AS account_mean_1h, a.sum_1d / a.count_1d AS account_mean_1d,
    coalesce(received_1d, 0) AS account_received_1d, coalesce(received_7d, 0) AS account_received_7d,
    amount / (account_received_7d + 1) AS account_amount_over_received_7d,
    (at_us - epoch_us(account_opened_at)) / 86400000000 AS account_age_days, channel AS account_channel,
    af.frauds_30d AS account_known_frauds_30d, (af.frauds_30d + 0.1) / (af.labels_30d + 20) AS account_fraud_rate_30d,
    af.since_fraud AS account_days_since_fraud, af.since_honest AS account_days_since_legitimate, af.run AS account_fraud_run
FROM of_account AS a
LEFT JOIN of_merchant AS m USING (row_id)
LEFT JOIN of_receiver AS r USING (row_id)
LEFT JOIN outflow USING (row_id)
LEFT JOIN received USING (row_id)
LEFT JOIN merchant_fraud AS mf USING (row_id)
LEFT JOIN receiver_fraud AS rf USING (row_id)
JOIN account_fraud AS af USING (row_id)
