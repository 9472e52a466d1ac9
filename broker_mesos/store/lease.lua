-- Renew a lease, or give it up.
--
-- KEYS  1 lease (hash; see commit.lua)
-- ARGV  "renew" or "release", term, nonce
-- Returns {"OK"}, or {"FENCED", term, owner} and has written nothing.
local lease = redis.call('HMGET', KEYS[1], 'term', 'nonce', 'owner')
if lease[1] ~= ARGV[2] or lease[2] ~= ARGV[3] then
  return {'FENCED', lease[1] or '0', lease[3] or ''}
end
if ARGV[1] == 'renew' then
  local time = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'renewed_at', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
else
  redis.call('HSET', KEYS[1], 'nonce', '', 'owner', '')
end
return {'OK'}
