SELECT
    $partition_key AS day,
    count(*) AS readings,
    sum(value) AS total,
    min(value) AS low,
    max(value) AS high
FROM readings
HAVING count(*) > 0
