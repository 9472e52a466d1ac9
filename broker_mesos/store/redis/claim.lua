-- Take a cell's lease by compare-and-set on (term, nonce).
--
-- KEYS  1 lease (hash; see commit.lua), 2 agents, 3 frameworks, 4 tasks, 5 outbox (all hashes)
-- ARGV  seen term, seen nonce, owner, fresh nonce, floor
-- A floor more than a day above the server's time is refused: terms are its milliseconds, and no owner ever had that one.
-- Returns {"FLOOR"};
--         {"OK", term, owner, commit, recovering, "1" if the latest recovery is over, its term}; {"FENCED", term, owner}; {"TYPE", key, type}.
-- A repeat (the stored nonce is ours: the first reply was lost) changes nothing and returns the same.
for i = 1, 5 do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind ~= 'hash' and kind ~= 'none' then
    return {'TYPE', KEYS[i], kind}
  end
end
local lease = redis.call('HMGET', KEYS[1], 'term', 'nonce', 'owner', 'commit', 'recovering', 'run_id', 'recovered',
  'recovery_term')
local term = lease[1] or '0'
if lease[1] and lease[2] == ARGV[4] then
  return {'OK', term, lease[3] or '', lease[4] or '0', lease[5] or '0', lease[7] or '0', lease[8] or '0'}
end
if term ~= ARGV[1] or (lease[2] or '') ~= ARGV[2] then
  return {'FENCED', term, lease[3] or ''}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if tonumber(ARGV[5]) > now + 86400000 and tonumber(ARGV[5]) > tonumber(term) then
  return {'FLOOR'}
end
-- Another run of the server may have lost the last writes. INFO can be forbidden to this user: then the
-- commit number alone decides.
local info = redis.pcall('INFO', 'server')
local run_id = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
local recovering = '0'
if tonumber(term) == 0 or (lease[6] or '') ~= run_id then
  recovering = '1'
end
term = string.format('%.0f', math.max(tonumber(term) + 1, now, tonumber(ARGV[5])))
redis.call('HSET', KEYS[1], 'term', term, 'nonce', ARGV[4], 'owner', ARGV[3], 'commit', lease[4] or '0',
  'renewed_at', string.format('%.0f', now), 'run_id', run_id, 'recovering', recovering)
-- No times: this server's clock may have been set since. An owner that has waited for long enough says so (lease.lua).
local recovered, recovery_term = lease[7] or '0', lease[8] or term
if recovering == '1' then
  recovered, recovery_term = '0', term
  redis.call('HSET', KEYS[1], 'recovered', recovered, 'recovery_term', term)
end
return {'OK', term, ARGV[3], lease[4] or '0', recovering, recovered, recovery_term}
