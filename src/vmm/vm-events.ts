import type { DevicePlace } from '../machine/build.ts'
import type { MigrationProgress, MigrationReport } from '../migration/progress.ts'
import type { LiveReport } from '../snapshot/live.ts'
import type { SnapshotProgress } from '../snapshot/progress.ts'
import type { TsvmmError } from '../util/errors.ts'

/** Why a machine ended. `crash` carries a report with the registers; `stopped` is the owner's own doing. */
export type VmExit =
  | { readonly kind: 'power-off' }
  | { readonly kind: 'stopped' }
  /** Another host has it now. */
  | { readonly kind: 'moved' }
  | { readonly kind: 'crash'; readonly error: TsvmmError; readonly report: string }

/** How a snapshot was taken. */
export interface SnapshotReport {
  /** For how long the machine stood still; absent where it was paused before. */
  readonly pausedMs?: number
  /** How its memory was saved while it ran, where that was asked for. */
  readonly live?: LiveReport
}

export interface VmEvents {
  /** Firmware tables and kernel are in guest memory; the vCPUs start next. */
  loaded: []
  booted: []
  pausing: []
  paused: []
  resuming: []
  resumed: []
  rebooting: []
  rebooted: []
  snapshotting: []
  /** How much of its memory is saved, now and then; of a machine that is saved as it runs, of the round. */
  'snapshot-progress': [SnapshotProgress]
  snapshotted: [SnapshotReport]
  /** A device was added: the guest has been told. */
  'device-added': [DevicePlace]
  /** A device has left the machine, asked for or not, and all that it had of the host is given back. */
  'device-removed': [id: string]
  /** Another host takes it, and its memory is on its way. */
  'migration-started': []
  'migration-progress': [MigrationProgress]
  /** The other host has it. */
  'migration-finished': [MigrationReport]
  /** All of the memory of a machine that went on here before it was there has come. */
  'migration-completed': []
  /** It stays here, as it was. */
  'migration-failed': [reason: unknown]
  /** It is not known which side has it: `resolveMigration` is for a person who knows. */
  'migration-in-doubt': [id: string, reason: string]
  exit: [VmExit]
  /** What the driver of a device did to it, or what the host cannot give: it rests until the driver resets it. */
  'needs-reset': [device: string, reason: string]
  /** Something is wrong with a disk's image, told once: the guest gets I/O errors where that is. */
  'disk-fault': [device: string, reason: string]
  /** A byte written to port 0x80: how far firmware or kernel has come, and when, counted from when the machine was built. */
  'debug-code': [code: number, elapsedSeconds: number]
}
