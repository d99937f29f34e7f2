import { resolve } from 'node:path'
import type { VmConfig } from '../config/vm-config.ts'
import { snapshotError } from '../snapshot/error.ts'
import type { OpenSnapshot } from '../snapshot/read.ts'
import type { Overrides } from './overrides.ts'

/** Disks that a machine made of a saved one writes to: `copy`: copies of its own; `leave`: the same as that one's. */
export type DiskChoice = 'copy' | 'leave'

export interface DiskToCopy {
  readonly id: string
  /** Where the saved machine had it. */
  readonly path: string
  /** What is copied: as it is now, or as a snapshot has it. */
  readonly from: string
  /** As of a DiskFile. */
  readonly backing_files: boolean
}

/** The part of a snapshot that has disks. */
export type SavedDisks = Pick<OpenSnapshot, 'path' | 'disks'>

/**
 * The disks of `config` to be copied: what it writes to and is not elsewhere by `overrides`. Throws ERR_SNAPSHOT where the
 * snapshot has such a disk and nobody said whether that is meant.
 */
export function disksToCopy(
  config: VmConfig,
  overrides: Overrides,
  choice: DiskChoice | undefined,
  saved?: SavedDisks,
): readonly DiskToCopy[] {
  const disks = config.disks.flatMap(({ id = '', path: given, readonly, backing_files }) => {
    if (readonly || overrides.disks?.[id]?.path !== undefined) return []
    const path = resolve(given)
    return [{ id, path, from: saved?.disks.get(id) ?? path, backing_files }]
  })
  if (choice === 'copy') return disks
  const frozen = disks.filter(({ id }) => saved?.disks.has(id) === true).map(({ id }) => id)
  if (choice === undefined && saved !== undefined && frozen.length > 0) {
    const reason = `it has its disks as they were (${frozen.join(', ')}): say disks=copy, disks=leave or another path for each`
    throw snapshotError(saved.path, '', reason)
  }
  return []
}
