-- Takes a part of what an agent key may use in a minute, once what was taken before is set right.
--
-- `now` stands above this: milliseconds by the clock of this Redis, the only one that what follows goes by.
-- KEYS[1]: a hash of one limit of one agent key. Its fields are slots of five seconds, each of one server; the value is until
-- when what was taken in it counts, and how much that is.
-- ARGV: the most in a minute; how much is wanted; the slot, and for how long from now what is taken in it counts; the longest
-- that anything counts; then of each correction its slot, for how long it counts, and by how much more was used than taken.
-- Gives how much is granted, how much is left beside it, and how long until the oldest of what counts does so no longer.
local most, wanted = tonumber(ARGV[1]), tonumber(ARGV[2])
local slot, lasts, longest = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
-- Numbers up to here are exact.
local greatest = 9007199254740991

local taken, changed = {}, {}
local held = redis.call('HGETALL', KEYS[1])
for at = 1, #held, 2 do
    local ends, amount = string.match(held[at + 1], '^(%d+) (%d+)$')
    if ends and tonumber(ends) > now then
        taken[held[at]] = { ends = tonumber(ends), amount = tonumber(amount) }
        -- The clock was set back: it counts for as long as anything may, and not longer.
        if tonumber(ends) > now + longest then
            taken[held[at]].ends = now + longest
            changed[held[at]] = true
        end
    else
        redis.call('HDEL', KEYS[1], held[at])
    end
end

for at = 6, #ARGV, 3 do
    local name, counts, by = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    if taken[name] then
        taken[name].amount = math.max(math.min(taken[name].amount + by, greatest), 0)
        changed[name] = true
    elseif by > 0 and counts > 0 then
        taken[name] = { ends = now + counts, amount = by }
        changed[name] = true
    end
end

local sum = 0
for _, entry in pairs(taken) do
    sum = sum + entry.amount
end
local left = math.max(most - sum, 0)
local granted = 0
if wanted > 0 then
    granted = math.min(math.max(wanted, math.floor(left / 4)), left)
end
if granted > 0 then
    local entry = taken[slot] or { ends = 0, amount = 0 }
    taken[slot] = { ends = math.max(entry.ends, now + lasts), amount = entry.amount + granted }
    changed[slot] = true
end

local oldest, newest
for name, entry in pairs(taken) do
    if entry.amount > 0 then
        oldest = math.min(oldest or entry.ends, entry.ends)
        newest = math.max(newest or entry.ends, entry.ends)
    end
    if changed[name] and entry.amount > 0 then
        redis.call('HSET', KEYS[1], name, string.format('%.0f %.0f', entry.ends, entry.amount))
    elseif changed[name] then
        redis.call('HDEL', KEYS[1], name)
    end
end
if newest then
    redis.call('PEXPIRE', KEYS[1], newest - now)
end
return { granted, left - granted, (oldest or now + lasts) - now }
