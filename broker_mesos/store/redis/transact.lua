-- A transaction over hashes and sorted sets: all changes if all checks hold, else none.
--
-- KEYS  the distinct keys, of any type
-- ARGV  c, then c checks of 5: "hash", key's index, field, "1" and the value (or "0" and "": absent),
--                              "zcard", key's index, "", "1", size
--       n, then n changes of 4: op, key's index, field or member, value or score ("" where there is none); the score of zadd_after
--                              is in seconds after the server's time, that of zadd_last is above all that are there
-- Returns {"OK", value of each hincrby …}; {"NO"}: a check does not hold; {"TYPE", key, type, needed};
--       {"INTEGER", key, field}: what should be counted up is no integer. Only OK has written anything.
local NEEDS = {hash = 'hash', zcard = 'zset', hset = 'hash', hdel = 'hash', hincrby = 'hash',
  zadd = 'zset', zadd_after = 'zset', zadd_last = 'zset', zrem = 'zset', del = 'none'}
local stored, types = {}, {}
for i = 1, #KEYS do
  stored[i] = redis.call('TYPE', KEYS[i]).ok
  types[i] = stored[i]
end
local at = 2
for _ = 1, tonumber(ARGV[1]) do
  local op, k, field, present, value = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  if stored[k] ~= 'none' and stored[k] ~= NEEDS[op] then
    return {'TYPE', KEYS[k], stored[k], NEEDS[op]}
  end
  if op == 'zcard' then
    if redis.call('ZCARD', KEYS[k]) ~= tonumber(value) then
      return {'NO'}
    end
  else
    local found = redis.call('HGET', KEYS[k], field)
    if (present == '1' and found ~= value) or (present == '0' and found) then
      return {'NO'}
    end
  end
  at = at + 5
end
-- A script that fails half-way is not rolled back: walk the changes once without writing.
local first, last = at + 1, at + 4 * tonumber(ARGV[at])
for i = first, last, 4 do
  local op, k = ARGV[i], tonumber(ARGV[i + 1])
  local needed = NEEDS[op]
  if needed ~= 'none' and types[k] ~= 'none' and types[k] ~= needed then
    return {'TYPE', KEYS[k], types[k], needed}
  end
  types[k] = needed
  if op == 'hincrby' and stored[k] == 'hash' then
    local found = redis.call('HGET', KEYS[k], ARGV[i + 2])
    local digits = found and string.match(found, '^-?([1-9]%d*)$')
    if found and found ~= '0' and (not digits or #digits > 15) then
      return {'INTEGER', KEYS[k], ARGV[i + 2]}
    end
  end
end
-- Memory that runs out refuses a script's first write only, so this is all or nothing, too; one that begins
-- with a deletion is let through, which is how a full server gets emptier.
local results, now = {'OK'}, nil
for i = first, last, 4 do
  local op, key = ARGV[i], KEYS[tonumber(ARGV[i + 1])]
  if op == 'hset' then
    redis.call('HSET', key, ARGV[i + 2], ARGV[i + 3])
  elseif op == 'hdel' then
    redis.call('HDEL', key, ARGV[i + 2])
  elseif op == 'hincrby' then
    results[#results + 1] = redis.call('HINCRBY', key, ARGV[i + 2], ARGV[i + 3])
  elseif op == 'zadd' then
    redis.call('ZADD', key, ARGV[i + 3], ARGV[i + 2])
  elseif op == 'zadd_after' then
    now = now or redis.call('TIME')
    redis.call('ZADD', key, string.format('%.6f', now[1] + now[2] / 1e6 + ARGV[i + 3]), ARGV[i + 2])
  elseif op == 'zadd_last' then
    local top = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2]
    local score = math.max(tonumber(ARGV[i + 3]), (tonumber(top) or -math.huge) + 1e-6)
    redis.call('ZADD', key, string.format('%.6f', score), ARGV[i + 2])
  elseif op == 'zrem' then
    redis.call('ZREM', key, ARGV[i + 2])
  else
    redis.call('DEL', key)
  end
end
return results
