import { resolve } from 'node:path'
import type { VmConfig } from '../config/vm-config.ts'
import { reasonOf } from '../util/errors.ts'
import type { Log } from '../util/log.ts'
import { type MachineEntry, Registration, runtimeDirectory } from '../vmm/registry.native.ts'
import type { Vmm } from '../vmm/vmm.ts'

export interface RegisteredAs {
  /** The value of --api-socket. */
  readonly apiSocket?: string | undefined
  /** Of several machines in this process. */
  readonly clone?: number
}

/** Lists the machine for `tsvmm ps` until disposed of. Where that cannot be it runs all the same. */
export function register(vmm: Vmm, as: RegisteredAs, log: Log): Disposable | undefined {
  const directory = runtimeDirectory()
  if (directory === undefined) return undefined
  const unlisted = (error: unknown) => log.info(`tsvmm ps does not show this machine: ${reasonOf(error)}`)
  try {
    const registration = new Registration(directory, entryOf(vmm, as))
    vmm.on('changed', () => {
      try {
        registration.update(entryOf(vmm, as))
      } catch (error) {
        unlisted(error)
      }
    })
    return registration
  } catch (error) {
    unlisted(error)
    return undefined
  }
}

function entryOf(vmm: Vmm, { apiSocket, clone }: RegisteredAs): MachineEntry {
  const { state } = vmm
  return {
    pid: process.pid,
    ...(clone === undefined ? {} : { clone }),
    started: new Date(performance.timeOrigin).toISOString(),
    state,
    ...(apiSocket === undefined || apiSocket.startsWith('fd=') ? {} : { socket: pathOf(apiSocket) }),
    ...(state === 'absent' || state === 'receiving' ? { consoles: {} } : factsOf(vmm)),
  }
}

const pathOf = (socket: string) => resolve(socket.replace(/^path=/, ''))

function factsOf(vmm: Vmm): Pick<MachineEntry, 'vcpus' | 'memory_bytes' | 'boots' | 'consoles'> {
  const { config, memory_actual_size } = vmm.info()
  const { kernel, firmware } = config.payload
  const boots = kernel ?? firmware
  return {
    ...{ vcpus: config.cpus.boot_vcpus, memory_bytes: memory_actual_size, consoles: consolesOf(config) },
    ...(boots == null ? {} : { boots }),
  }
}

export function consolesOf({ serial, console, debug_console }: VmConfig): MachineEntry['consoles'] {
  const places = { serial: placeOf(serial), console: placeOf(console), 'debug-console': placeOf(debug_console) }
  return Object.fromEntries(Object.entries(places).filter(([, place]) => place !== undefined))
}

type Target = Pick<VmConfig['serial'], 'mode' | 'file' | 'socket'>

/** What somebody else can open. */
function placeOf({ mode, file, socket }: Target): string | undefined {
  if (mode === 'Pty') return file ?? undefined
  return mode === 'Socket' && socket != null ? resolve(socket) : undefined
}
