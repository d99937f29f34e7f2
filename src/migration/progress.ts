/** `copying`: memory goes over while the machine runs; `handing-over`: it stands still; `in-doubt`: a person may have to decide;
 * `completing`: the other side has it, and the rest of its memory follows. */
export const migrationPhases = ['connecting', 'copying', 'handing-over', 'in-doubt', 'completing'] as const

/** How far a migration has come. */
export interface MigrationProgress {
  readonly phase: (typeof migrationPhases)[number]
  /** Of the migration: what a person decides by. */
  readonly id: string
  /** Passes over the memory, the one that is under way included. */
  readonly passes: number
  readonly elapsedMs: number
  /** Of the pass. */
  readonly bytesDone: number
  readonly bytesTotal: number
  /** Over the network, of all passes. */
  readonly bytesSent: number
  /** Over the network, lately. */
  readonly bytesPerSecond: number
  /** How fast the machine writes to memory that it had not written to before in the same pass. */
  readonly dirtyBytesPerSecond: number
  /** If it were paused now; absent before the end of the first pass. */
  readonly expectedDowntimeMs?: number
  /** By how much its vCPUs are slowed down, in percent. */
  readonly throttlePercent: number
}

/** How a migration went, for its source. */
export interface MigrationReport {
  readonly passes: number
  readonly totalMs: number
  /** Until the destination had it running. */
  readonly downtimeMs: number
  readonly bytesSent: number
}
