import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { portable } from '../config/settle.ts'
import { parseVmConfig, type VmConfig } from '../config/vm-config.ts'
import { type OpenSnapshot, openSnapshot } from '../snapshot/read.ts'
import type { SnapshotOptions } from '../snapshot/write.ts'
import { CloneDisks } from './clone-disks.ts'
import { type ClonePlanOptions, type PlannedClone, planClones } from './clone-plan.ts'
import { disksToCopy } from './disk-plan.ts'
import { withOverrides } from './overrides.ts'
import type { RestoreOptions } from './restore.ts'
import type { Vm, VmOptions } from './vm.ts'

export interface CloneOptions extends Omit<RestoreOptions, 'overrides'>, ClonePlanOptions {}

export interface ForkOptions extends CloneOptions {
  /** Where the snapshot stays; where absent it is temporary, and gone as soon as the clones are there. */
  readonly directory?: string
}

type RestoreOne = (snapshot: OpenSnapshot, options: RestoreOptions & VmOptions) => Promise<Vm>

/** The machines of a snapshot, all or none. Throws ERR_CLONES and what a restore throws. */
export async function cloneSnapshot(
  path: string,
  count: number,
  options: CloneOptions & VmOptions,
  restoreOne: RestoreOne,
): Promise<Vm[]> {
  await using snapshot = await openSnapshot(path)
  const plan = planClones(snapshot.config, count, options, { frozen: snapshot })
  await using disks = disksOf(options)
  return await restoreAll(plan, disks, options, each => restoreOne(snapshot, each))
}

/** The machine of a snapshot, with copies of its disks where that is asked for. Throws what a restore throws. */
export async function restoreSnapshot(
  snapshot: OpenSnapshot,
  options: RestoreOptions & VmOptions,
  restoreOne: RestoreOne,
): Promise<Vm> {
  const { overrides = {} } = options
  const config = parseVmConfig(withOverrides(snapshot.config, overrides))
  const copies = disksToCopy(config, overrides, options.disks, snapshot)
  if (copies.length === 0) return await restoreOne(snapshot, options)
  await using disks = disksOf(options)
  const vm = await disks.with({ overrides, copies }, true, each =>
    restoreOne(snapshot, { ...options, overrides: each }),
  )
  disks.keep()
  return vm
}

/** A machine to be forked. */
export interface ForkSource {
  readonly config: VmConfig
  /** Saves it; `meanwhile` runs while it stands still for that. */
  save(path: string, options: SnapshotOptions, meanwhile: () => Promise<void>): Promise<void>
  readonly restoreOne: RestoreOne
}

/** Clones of a machine, which goes on; all or none. Throws ERR_CLONES before it is paused, and what snapshot and restore throw. */
export async function forkMachine(
  { config, save, restoreOne }: ForkSource,
  count: number,
  options: ForkOptions & VmOptions,
): Promise<Vm[]> {
  const plan = planClones(portable(config), count, options, { beside: config })
  await using disks = disksOf(options)
  await using place = await placeOf(options.directory)
  const { signal } = options
  const durability = options.directory === undefined ? 'none' : 'data'
  await save(place.path, { durability, ...(signal === undefined ? {} : { signal }) }, () => disks.freeze(plan))
  await using snapshot = await openSnapshot(place.path)
  return await restoreAll(plan, disks, options, each => restoreOne(snapshot, each))
}

function disksOf({ diskDirectory, signal }: Pick<CloneOptions & VmOptions, 'diskDirectory' | 'signal'>): CloneDisks {
  return new CloneDisks(diskDirectory === undefined ? 'beside' : { directory: diskDirectory }, signal)
}

async function placeOf(directory: string | undefined): Promise<{ path: string } & AsyncDisposable> {
  if (directory !== undefined) return { path: directory, async [Symbol.asyncDispose]() {} }
  const folder = await mkdtemp(join(tmpdir(), 'tsvmm-fork-'))
  // What is mapped of it stays with those who have it mapped.
  return { path: join(folder, 'snapshot'), [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) }
}

async function restoreAll(
  plan: readonly PlannedClone[],
  disks: CloneDisks,
  { resume: isResumed = false, ...options }: CloneOptions & VmOptions,
  restoreOne: (options: RestoreOptions & VmOptions) => Promise<Vm>,
): Promise<Vm[]> {
  const clones: Vm[] = []
  const restore = (overrides: PlannedClone['overrides']) => restoreOne({ ...options, overrides })
  try {
    for (const clone of plan) clones.push(await disks.with(clone, clone === plan.at(-1), restore))
    // Only when all are there: none has run in vain, and none that runs holds up those that are still to be made.
    if (isResumed) for (const clone of clones) await clone.resume()
    disks.keep()
    return clones
  } catch (error) {
    await Promise.allSettled(clones.map(clone => clone.close()))
    throw error
  }
}
