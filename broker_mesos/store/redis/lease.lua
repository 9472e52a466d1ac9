-- Renew a lease, or give it up.
--
-- KEYS  1 lease (hash; see commit.lua)
-- ARGV  "renew" or "release", term, nonce, number of the last commit that is known to be applied (0: any),
--       "1" if the recovery of the cell is over
-- Returns {"OK"}; {"FENCED", term, owner}, or {"LOST", commit}: the store went back in time; only OK has
--       written anything.
local lease = redis.call('HMGET', KEYS[1], 'term', 'nonce', 'owner', 'commit')
if lease[1] ~= ARGV[2] or lease[2] ~= ARGV[3] then
  return {'FENCED', lease[1] or '0', lease[3] or ''}
end
if tonumber(lease[4] or '0') < tonumber(ARGV[4]) then
  return {'LOST', lease[4] or '0'}
end
if ARGV[1] == 'renew' then
  local time = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'renewed_at', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
  if ARGV[5] == '1' then
    redis.call('HSET', KEYS[1], 'recovered', '1')
  end
else
  redis.call('HSET', KEYS[1], 'nonce', '', 'owner', '')
end
return {'OK'}
