import { resolve } from 'node:path'
import { randomBytes } from '../util/random.ts'
import { withSlots } from './pci-slots.ts'
import type { NetConfig, VmConfig } from './vm-config.ts'

/** The configuration with all that is chosen for a machine when it is made: the same machine can be made from it again. */
export function settled(config: VmConfig): VmConfig {
  return withSlots({ ...config, net: config.net.map(withMac) })
}

/** As it is from anywhere: paths are whole, and descriptors, which are nobody else's, are left open as `fds: []`. */
export function portable(config: VmConfig): VmConfig {
  const { kernel, firmware, initramfs } = config.payload
  const absolute = (path: string | undefined) => (path === undefined ? undefined : resolve(path))
  return {
    ...config,
    cpus: { ...config.cpus, ...withoutAbsent({ template: absolute(config.cpus.template) }) },
    payload: {
      ...config.payload,
      ...withoutAbsent({ kernel: absolute(kernel), firmware: absolute(firmware), initramfs: absolute(initramfs) }),
    },
    disks: config.disks.map(disk => ({ ...disk, path: resolve(disk.path) })),
    net: config.net.map(card => (card.fds === undefined ? card : { ...card, fds: [] })),
    rng: { ...config.rng, src: resolve(config.rng.src) },
    serial: {
      ...config.serial,
      ...withoutAbsent({ file: absolute(config.serial.file), socket: absolute(config.serial.socket) }),
    },
    console: { ...config.console, ...withoutAbsent({ file: absolute(config.console.file) }) },
    debug_console: { ...config.debug_console, ...withoutAbsent({ file: absolute(config.debug_console.file) }) },
  }
}

function withoutAbsent<T extends object>(fields: T): Partial<T> {
  const present: Partial<T> = {}
  for (const name in fields) if (fields[name] !== undefined) present[name] = fields[name]
  return present
}

function withMac(card: NetConfig): NetConfig {
  return card.mac === undefined ? { ...card, mac: randomMac() } : card
}

/** Locally administered, unicast. */
export function randomMac(): string {
  const mac = randomBytes(6)
  mac[0] = ((mac[0] ?? 0) & 0xfc) | 0x02
  return Array.from(mac, byte => byte.toString(16).padStart(2, '0')).join(':')
}
