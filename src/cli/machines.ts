import { resolve } from 'node:path'
import { TsvmmError } from '../util/errors.ts'
import { type MachineEntry, nameOf, registeredMachines, runtimeDirectory } from '../vmm/registry.native.ts'
import type { ChosenLocal } from './local-commands.ts'
import { pathOf } from './remote.ts'

/** A machine as it was asked for: one that is listed, or whatever serves an API. */
export interface FoundMachine {
  /** For people. */
  readonly name: string
  readonly entry?: MachineEntry | undefined
  readonly socket?: string | undefined
}

export function listedMachines(): MachineEntry[] {
  return registeredMachines(runtimeDirectory())
}

function asFound(entry: MachineEntry): FoundMachine {
  return { name: nameOf(entry), entry, socket: entry.socket }
}

/** It may be another user's, which is not listed. */
function servedAt(path: string): FoundMachine {
  const socket = resolve(path)
  const entry = listedMachines().find(each => each.socket === socket)
  return entry === undefined ? { name: path, socket } : asFound(entry)
}

/** What was named, or the machines of this host. Throws ERR_MACHINE_UNKNOWN and ERR_USAGE. */
export function findMachines(command: string, { machine, flags }: ChosenLocal): FoundMachine[] {
  if (flags.apiSocket !== undefined) {
    if (machine !== undefined) {
      throw new TsvmmError('ERR_USAGE', { message: `${command}: takes ${machine} or --api-socket, not both` })
    }
    return [servedAt(pathOf(command, flags.apiSocket))]
  }
  const listed = listedMachines()
  if (machine === undefined) return listed.map(asFound)
  if (!/^\d+(-\d+)?$/.test(machine)) return [servedAt(machine)]
  const found = listed.find(each => nameOf(each) === machine)
  if (found === undefined) throw new TsvmmError('ERR_MACHINE_UNKNOWN', { reason: `there is no machine ${machine}` })
  return [asFound(found)]
}

/** The one that was named, or the only one. */
export function findMachine(command: string, chosen: ChosenLocal): FoundMachine {
  const [first, ...others] = findMachines(command, chosen)
  if (first === undefined) throw new TsvmmError('ERR_MACHINE_UNKNOWN', { reason: 'there is no machine' })
  if (others.length > 0) {
    throw new TsvmmError('ERR_MACHINE_UNKNOWN', { reason: `${command}: which of ${others.length + 1} machines` })
  }
  return first
}
