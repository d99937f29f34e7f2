import type { ExecutionContext } from 'ava'
import type { GuestConsole } from './guest-console.ts'

/**
 * A guest that works all the time: checks a pattern in its memory, counts on a disk with every write on the disk before the
 * next, and compares its clocks with what they said before. What is wrong it writes down.
 */
const load = (mebibytes: number) => `
head -c ${mebibytes}M /dev/urandom > /dev/shm/pattern; sum=$(sha256sum < /dev/shm/pattern)
memory() { while :; do [ "$(sha256sum < /dev/shm/pattern)" = "$sum" ] || echo "memory changed" >> /tmp/errors; echo $((n+=1)) > /tmp/memory; done; }
disk() { for ((n = 1;; n++)); do
  printf '%015d\\n' $n | dd of=/dev/vdb bs=16 seek=$n conv=notrunc,fsync status=none || echo "write $n failed" >> /tmp/errors
  echo $n > /tmp/disk; done; }
clocks() { while :; do read up _ < /proc/uptime; now=$EPOCHREALTIME
  [ "$(printf '%s\\n' "$before" "$now" | sort -n | head -1)" = "$before" ] || echo "time went from $before to $now" >> /tmp/errors
  [ "$(printf '%s\\n' "$upbefore" "$up" | sort -n | head -1)" = "$upbefore" ] || echo "uptime went from $upbefore to $up" >> /tmp/errors
  before=$now upbefore=$up; echo $((c+=1)) > /tmp/clocks; sleep 0.1; done; }
touch /tmp/errors; n=0 c=0 before=0 upbefore=0
memory & disk & clocks &
`

/** How far each part of the load has come. */
export async function progress(guest: GuestConsole): Promise<readonly number[]> {
  const text = await guest.check('cat /tmp/memory /tmp/disk /tmp/clocks', 120_000)
  return text.split('\n').map(Number)
}

/** All parts of the load go on, and nothing was wrong so far. */
export async function goesOn(
  t: ExecutionContext,
  guest: GuestConsole,
  from: readonly number[],
  what: string,
): Promise<void> {
  const deadline = performance.now() + 240_000
  const hasProgressed = (now: readonly number[]) => now.every((count, part) => count >= (from[part] ?? 0) + 2)
  let now = await progress(guest)
  while (!hasProgressed(now) && performance.now() < deadline) now = await progress(guest)
  t.true(hasProgressed(now), `${what}: ${from.join(' ')}, then ${now.join(' ')}`)
  t.is(await guest.check('cat /tmp/errors'), '', what)
  // Each number was written once, to a place of its own: none is lost and none is doubled.
  const [, written = 0] = now
  const numbers = `head -c ${16 * (written + 1)} /dev/vdb | tail -c +17`
  await guest.check('sync; echo 3 > /proc/sys/vm/drop_caches')
  await guest.check(`cmp <(${numbers}) <(seq -f %015.0f 1 ${written})`, 120_000)
}

/** Logs in and begins to work, with so large a pattern. */
export async function works(guest: GuestConsole, mebibytes: number): Promise<void> {
  await guest.logIn()
  for (const line of load(mebibytes).trim().split('\n')) guest.type(`${line}\n`)
  await guest.check(
    'while [ ! -e /tmp/memory ] || [ ! -e /tmp/disk ] || [ ! -e /tmp/clocks ]; do sleep 0.1; done',
    240_000,
  )
}
