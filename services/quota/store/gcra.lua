-- One request against one bucket: the arithmetic of services/quota/domain/gcra.py, atomically, on this store's clock.
--
-- KEYS[1]  the bucket, `{tenant}:limit`
-- ARGV     tokens per second, burst in tokens, cost in tokens (whole numbers, 1 <= cost <= burst)
-- returns  {allowed 0|1, tokens remaining, retry after in microseconds, reset in microseconds}
--
-- A bucket is the text "<debt> <at>": millionths of a token, and microseconds since 1970. Every number stays below 2^53
-- (a burst of 10^9 tokens is 10^15 millionths, a time is 1.8 * 10^15), so that Lua's doubles are exact integers, and a
-- quotient of two of them never rounds across a whole number.
-- A key lives until its debt has drained, then vanishes: an idle tenant costs nothing.

local per_s, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local capacity, asked = burst * 1000000, cost * 1000000

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local function keep(debt)
  -- One millisecond more than the bucket needs: a key must not vanish before its debt.
  local lifetime_ms = math.floor(math.ceil(debt / per_s) / 1000) + 1
  redis.call('SET', KEYS[1], string.format('%.0f %.0f', debt, now), 'PX', lifetime_ms)
end

local debt, at = 0, now
local kept = redis.call('GET', KEYS[1])
if kept then
  local had, since = string.match(kept, '^(%d+) (%d+)$')
  if not had then return redis.error_reply('ERR a bucket is "<debt> <at>", not what this key holds') end
  at = tonumber(since)
  debt = math.min(capacity, math.max(0, tonumber(had) - math.max(0, now - at) * per_s))
end

local allowed, missing = 1, debt + asked - capacity
if missing > 0 then
  -- Nothing to write, unless the clock stepped back: then the debt would stand still until the old time comes again.
  allowed = 0
  if now < at then keep(debt) end
else
  missing, debt = 0, debt + asked
  keep(debt)
end
return {allowed, math.floor((capacity - debt) / 1000000), math.ceil(missing / per_s), math.ceil(debt / per_s)}
