import { availableParallelism } from 'node:os'
import { parseVmConfig, type VmConfig } from '../config/vm-config.ts'
import type { BuiltMachine, MachineBuilder } from '../machine/build.ts'
import { atAnyTscRate } from '../machine/cpu-fingerprint.ts'
import type { PagingOptions, RamRestoreMode } from '../memory/ram-image.ts'
import { snapshotError } from '../snapshot/error.ts'
import { haveSameRanges } from '../snapshot/layers.ts'
import type { OpenSnapshot } from '../snapshot/read.ts'
import { loadAll } from '../state/walk.ts'
import type { DiskChoice } from './disk-plan.ts'
import { type Overrides, withOverrides } from './overrides.ts'

export interface RestoreOptions {
  /**
   * `cow`: memory is a private mapping of the snapshot's image, read as it is touched and shared with other machines of
   * it, the default where that is possible; `copy`: all of it is read, and checked, first; `ondemand`: each page is read,
   * and checked, when it is touched (userfaultfd), of compressed, shared and huge memory, too.
   */
  readonly mode?: RamRestoreMode
  /** `ondemand`: the pages that the last machine touched first are read at once, where the snapshot lists them; true. */
  readonly prefetch?: boolean
  /** `ondemand`: all the rest is read while the machine runs; false. */
  readonly backgroundFill?: boolean
  /** `ondemand`: the socket of another process that has the pages: a page fault handler as Firecracker has it. */
  readonly handlerSocket?: string
  /** It runs at once; otherwise it is paused where it was saved. */
  readonly resume?: boolean
  /** Of the guest: goes on where it was (the default), or jumps by the time that has passed since. */
  readonly clock?: 'continue' | 'jump'
  /**
   * Of the guest's time stamp counters: as it was (the default), refused where this host cannot, or this host's, which does
   * no harm to a guest whose clock is the hypervisor's.
   */
  readonly tscRate?: 'keep' | 'host'
  /**
   * Of the disks that it writes to, but for those that have another path: `copy`, of those that the snapshot has, else of what is
   * there; `leave`: what is there. To be said where the snapshot has disks.
   */
  readonly disks?: DiskChoice
  /** Where copies of disks stay, as `ID.img`, of clones `ID-NUMBER.img`; where absent they are beside the disks, and gone with their machine. */
  readonly diskDirectory?: string
  /** What is other than on the host that it was saved on. */
  readonly overrides?: Overrides
}

/** More threads than this wait for the disk. */
const mostThreads = 8

export interface RestoredMachine {
  readonly config: VmConfig
  /** As of a Lineage. */
  readonly shown: string | undefined
  /** How one is built that has its memory and its state. */
  building(build: MachineBuilder): MachineBuilder
}

/** What becomes of a saved machine. */
export function restoredMachine(snapshot: OpenSnapshot, options: RestoreOptions): RestoredMachine {
  const config = parseVmConfig(withOverrides(snapshot.config, options.overrides ?? {}))
  const ram = {
    layers: snapshot.layers.all,
    mode: modeOf(snapshot, config, options.mode),
    paging: pagingOf(snapshot, options),
    threads: Math.min(mostThreads, availableParallelism()),
  }
  const { cpu: savedCpu } = snapshot.manifest
  const cpu = options.tscRate === 'host' ? atAnyTscRate(savedCpu) : savedCpu
  const load = async (machine: BuiltMachine) => {
    checkRanges(snapshot, machine)
    await machine.components.pause()
    loadAll(machine.components.components, snapshot.records)
    if (options.clock === 'jump') machine.skipPause()
    machine.newGeneration()
  }
  return {
    config,
    shown: ram.mode === 'copy' ? undefined : snapshot.manifest.id,
    building: build => async (machineConfig, events, buildOptions) => {
      const machine = await build(machineConfig, events, { ...buildOptions, ram, cpu })
      try {
        await load(machine)
        return machine
      } catch (error) {
        await machine.components.close()
        throw error
      }
    },
  }
}

/** Throws ERR_SNAPSHOT for what is of another mode, or what only whoever has the pages can do. */
function pagingOf({ path, prefetch }: OpenSnapshot, options: RestoreOptions): PagingOptions {
  const { mode, backgroundFill, handlerSocket } = options
  const only = [backgroundFill === true && 'background_fill', handlerSocket !== undefined && 'handler_socket']
  const [first] = only.filter(name => name !== false)
  if (first !== undefined && mode !== 'ondemand') throw snapshotError(path, '', `${first} is of ondemand alone`)
  if (handlerSocket === undefined) {
    return { prefetch: options.prefetch === false ? undefined : prefetch, fills: backgroundFill === true }
  }
  if (backgroundFill === true) throw snapshotError(path, '', 'background_fill is up to the process of handler_socket')
  return { handlerSocket }
}

/** RAM that others share, or of huge pages, is no private mapping of a file. */
function modeOf({ path, layers }: OpenSnapshot, { memory }: VmConfig, wanted: RestoreOptions['mode']): RamRestoreMode {
  if (wanted === 'ondemand' && memory.prefault) {
    throw snapshotError(path, '', 'it cannot be restored on demand with all of its memory present (prefault)')
  }
  const obstacle = layers.all.some(({ manifest }) => manifest.memory.form !== 'image')
    ? 'its memory is compressed'
    : memory.shared
      ? 'the machine has shared memory'
      : memory.hugepages
        ? 'the machine has huge pages'
        : undefined
  if (wanted === 'cow' && obstacle !== undefined) {
    throw snapshotError(path, '', `it cannot be restored copy-on-write: ${obstacle}`)
  }
  return wanted ?? (obstacle === undefined ? 'cow' : 'copy')
}

/** A machine built from the configuration has the memory that was saved. */
function checkRanges({ path, manifest }: OpenSnapshot, { ram }: BuiltMachine): void {
  const isSame = haveSameRanges(manifest.memory.ranges, ram.ranges)
  if (!isSame) throw snapshotError(path, '', 'its memory is not where a machine of its configuration has it')
}
