import { existsSync, readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'

/** Waits until a file that --event-monitor writes has an event. */
export async function happens(events: string, name: string, timeoutMs = 120_000): Promise<void> {
  const deadline = performance.now() + timeoutMs
  while (!existsSync(events) || !readFileSync(events, 'utf8').includes(`"event": "${name}"`)) {
    if (performance.now() > deadline) throw new Error(`${name} does not happen`)
    await delay(50)
  }
}
