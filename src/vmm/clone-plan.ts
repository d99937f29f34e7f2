import { resolve } from 'node:path'
import { chardevsOf, targetOf } from '../config/chardev-rules.ts'
import { randomMac } from '../config/settle.ts'
import { parseVmConfig, type VmConfig } from '../config/vm-config.ts'
import { TsvmmError } from '../util/errors.ts'
import { type DiskChoice, type DiskToCopy, disksToCopy, type SavedDisks } from './disk-plan.ts'
import { type Overrides, overridesSchema, withOverrides } from './overrides.ts'

/** As fork() of a process a thousand times over is a mistake more likely than a wish. */
export const mostClones = 1000

export interface ClonePlanOptions {
  /**
   * What each clone finds elsewhere: the same for all, where `{n}` in any text stands for the clone's number, from 0; or
   * made for each.
   */
  readonly overrides?: Overrides | ((number: number) => Overrides)
  /** Clones get copies of the disks that they write to, but for those that have another path. */
  readonly disks?: DiskChoice
}

/** One clone to be: what is other than in the snapshot. */
export interface PlannedClone {
  readonly number: number
  readonly overrides: Overrides
  /** The disks that it is to have copies of. */
  readonly copies: readonly DiskToCopy[]
}

/**
 * Plans `count` clones of a saved machine, each with network cards of its own addresses. Throws ERR_CLONES that lists what several of
 * them, or `beside` that goes on, would have to share and cannot.
 */
export function planClones(
  saved: unknown,
  count: number,
  { overrides = {}, disks }: ClonePlanOptions,
  { beside, frozen }: { readonly beside?: VmConfig; readonly frozen?: SavedDisks } = {},
): PlannedClone[] {
  if (!Number.isInteger(count) || count < 1 || count > mostClones) {
    throw new TsvmmError('ERR_CLONES', { reason: `${count} are none of 1 to ${mostClones}` })
  }
  const shared = new SharedThings()
  if (beside !== undefined) shared.add(beside, () => false)
  const clones = Array.from({ length: count }, (_, number) => {
    const given = typeof overrides === 'function' ? overrides(number) : numbered(overrides, number)
    const config = parseVmConfig(withOverrides(saved, given))
    const copies = disksToCopy(config, given, disks, frozen)
    shared.add(config, diskId => copies.some(({ id }) => id === diskId))
    return { number, overrides: withFreshAddresses(given, config), copies }
  })
  shared.check()
  return clones
}

/** The overrides of one clone: its number in place of every `{n}`. */
export function numbered(overrides: Overrides, number: number): Overrides {
  return overridesSchema.parse(withNumber(overrides, number))
}

function withNumber(value: unknown, number: number): unknown {
  if (typeof value === 'string') return value.replaceAll('{n}', String(number))
  if (Array.isArray(value)) return value.map(each => withNumber(each, number))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, withNumber(each, number)]))
}

function withFreshAddresses(given: Overrides, { net }: VmConfig): Overrides {
  if (net.length === 0) return given
  const cards = net.map(({ id = '' }) => [id, { mac: randomMac(), ...given.net?.[id] }] as const)
  return { ...given, net: Object.fromEntries(cards) }
}

/** What of the host only one machine can have. */
class SharedThings {
  readonly #owners = new Map<string, number>()
  readonly #labels = new Map<string, string>()

  add(config: VmConfig, isCopied: (diskId: string) => boolean): void {
    const { disks, net } = config
    for (const { id = '', path, readonly } of disks) {
      if (!readonly && !isCopied(id)) this.#own(`disk ${resolve(path)}`, `--disk ${id} (${path})`)
    }
    for (const { id = '', tap, fds } of net) {
      if (tap !== undefined) this.#own(`tap ${tap}`, `--net ${id} (${tap})`)
      for (const fd of fds ?? []) this.#own(`fd ${fd}`, `--net ${id} (descriptor ${fd})`)
    }
    for (const [flag, chardev] of chardevsOf(config)) {
      const target = targetOf(chardev)
      if (target !== undefined) this.#own(target, `${flag} (${chardev.file ?? chardev.socket ?? 'the terminal'})`)
    }
  }

  check(): void {
    const shared = [...this.#owners]
      .filter(([, owners]) => owners > 1)
      .map(([thing]) => this.#labels.get(thing) ?? thing)
    if (shared.length === 0) return
    const reason = `machines cannot share ${shared.join(', ')}: give each clone its own ({n} is its number), or copies of disks`
    throw new TsvmmError('ERR_CLONES', { reason })
  }

  #own(thing: string, label: string): void {
    this.#owners.set(thing, (this.#owners.get(thing) ?? 0) + 1)
    this.#labels.set(thing, label)
  }
}
