import * as z from 'zod/mini'
import { TsvmmError } from '../util/errors.ts'

const text = z.string().check(z.minLength(1))
const flag = z.optional(z.boolean())
const chardevFields = { mode: text, file: z.optional(text) }

/**
 * What a machine finds elsewhere than where it was saved: fields of its devices by id, and of the parts that every machine
 * has. All of them name things of the host, but a card's own address, which a driver reads when it next begins.
 */
export const overridesSchema = z.strictObject({
  disks: z.optional(z.record(z.string(), z.strictObject({ path: z.optional(text), direct: flag }))),
  net: z.optional(
    z.record(
      z.string(),
      z.strictObject({
        ...{ tap: z.optional(text), fds: z.optional(z.array(z.number())) },
        ...{ mac: z.optional(text), host_mac: z.optional(text) },
      }),
    ),
  ),
  serial: z.optional(z.strictObject({ ...chardevFields, socket: z.optional(text) })),
  console: z.optional(z.strictObject(chardevFields)),
  debug_console: z.optional(z.strictObject(chardevFields)),
  rng: z.optional(z.strictObject({ src: text })),
  memory: z.optional(
    z.strictObject({
      ...{ shared: flag, hugepages: flag, hugepage_size: z.optional(z.number()), mergeable: flag },
      ...{ prefault: flag, thp: flag },
    }),
  ),
})

export type Overrides = z.output<typeof overridesSchema>

/**
 * The saved configuration, to be checked as any other. Throws ERR_DEVICE_UNKNOWN for an id that it has not, and ERR_CONFIG_INVALID
 * for a card whose tap was a descriptor and is none of anything now.
 */
export function withOverrides(saved: unknown, overrides: Overrides): unknown {
  const config: Record<string, unknown> = { ...Object(saved) }
  for (const section of ['disks', 'net'] as const) {
    config[section] = devicesWith(config[section], overrides[section] ?? {})
  }
  for (const section of ['serial', 'console', 'debug_console', 'rng', 'memory'] as const) {
    const changes = overrides[section]
    if (changes === undefined) continue
    const kept = Object(config[section])
    config[section] = merged('mode' in changes ? withoutTarget(kept) : kept, changes)
  }
  requireTaps(config['net'])
  return config
}

/** A target is another one as a whole; where the guest finds the device stays. */
function withoutTarget(chardev: object): object {
  return { ...chardev, file: undefined, socket: undefined }
}

function requireTaps(cards: unknown): void {
  const isOpen = (card: unknown) => {
    const fds: unknown = Reflect.get(Object(card), 'fds')
    return Array.isArray(fds) && fds.length === 0
  }
  const card: unknown = Array.isArray(cards) ? cards.find(isOpen) : undefined
  if (card === undefined) return
  const id = String(Reflect.get(Object(card), 'id'))
  const reason = `${id}: had a tap by descriptor, and needs descriptors (net_fds) or a tap again`
  throw new TsvmmError('ERR_CONFIG_INVALID', { option: '--net', reason })
}

function devicesWith(saved: unknown, overrides: Readonly<Record<string, object>>): unknown[] {
  const devices: unknown[] = Array.isArray(saved) ? saved : []
  const idOf = (device: unknown): unknown => Reflect.get(Object(device), 'id')
  for (const id of Object.keys(overrides)) {
    if (!devices.some(device => idOf(device) === id)) throw new TsvmmError('ERR_DEVICE_UNKNOWN', { id })
  }
  return devices.map(device => {
    const id = idOf(device)
    const changes = typeof id === 'string' && Object.hasOwn(overrides, id) ? overrides[id] : undefined
    return changes === undefined ? device : withChanges(Object(device), changes)
  })
}

/** A card has its tap by name or by descriptor: the one that is given replaces the other. */
function withChanges(device: object, changes: object): object {
  const { tap, fds, ...others } = merged(device, changes)
  if ('fds' in changes) return { ...others, fds }
  if ('tap' in changes) return { ...others, tap }
  return merged(device, changes)
}

/** What is absent or undefined is not changed. */
function merged(one: object, changes: object): Record<string, unknown> {
  return { ...one, ...Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined)) }
}
