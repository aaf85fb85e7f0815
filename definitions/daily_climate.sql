-- An hour counts by its readings, so that a sensor that was silent for a while does not skew the day.
SELECT
    station,
    kind,
    $partition_start::DATE AS day,
    sum(readings)::BIGINT AS readings,
    round(sum(mean * readings) / sum(readings), 3) AS mean,
    min(low) AS low,
    max(high) AS high
FROM hourly_climate
GROUP BY ALL
