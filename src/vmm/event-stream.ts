import type { VmEvents } from './vm-events.ts'

export type VmEventName = keyof VmEvents

/** Something that happened to a machine: the event's name, and what its listeners are called with. */
export type VmEvent<Name extends VmEventName = VmEventName> = {
  [Each in Name]: { readonly name: Each; readonly args: VmEvents[Each] }
}[Name]

export interface EventsOptions<Name extends VmEventName = VmEventName> {
  /** Those that are asked for; where absent all but `debug-code` and the progress of snapshots and migrations. */
  readonly names?: readonly Name[]
  /** Aborting it ends the iteration with its reason. */
  readonly signal?: AbortSignal
}

/** What is used of an EventEmitter. */
interface Emitter {
  on(name: string, listener: (...args: unknown[]) => void): unknown
  off(name: string, listener: (...args: unknown[]) => void): unknown
}

/** Whether those who ask for none have them: not those of which there are many, or as many as the guest likes. */
const areUsual: Readonly<Record<VmEventName, boolean>> = {
  ...{ loaded: true, booted: true, pausing: true, paused: true, resuming: true, resumed: true, rebooting: true },
  ...{ rebooted: true, snapshotting: true, 'snapshot-progress': false, snapshotted: true, 'device-added': true },
  ...{ 'device-removed': true, 'migration-started': true, 'migration-progress': false, 'migration-finished': true },
  ...{ 'migration-completed': true, 'migration-failed': true, 'migration-in-doubt': true, exit: true },
  ...{ 'needs-reset': true, 'disk-fault': true, 'debug-code': false },
}

/** The events of a machine from now on, kept until they are read. It closes when the machine `hasEnded`. */
export function eventStream<Name extends VmEventName>(
  machine: Emitter,
  hasEnded: Promise<unknown>,
  { names, signal }: EventsOptions<Name>,
): ReadableStream<VmEvent<Name>> {
  signal?.throwIfAborted()
  const usual = Object.entries(areUsual).flatMap(([name, isUsual]) => (isUsual ? [name] : []))
  const wanted: ReadonlySet<string> = new Set(names ?? usual)
  const isWanted = (event: { name: string; args: unknown[] }): event is VmEvent<Name> => wanted.has(event.name)
  const leaving = new AbortController()
  return new ReadableStream({
    start(controller) {
      for (const name of wanted) {
        const hear = (...args: unknown[]) => {
          const event = { name, args }
          if (isWanted(event)) controller.enqueue(event)
        }
        machine.on(name, hear)
        leaving.signal.addEventListener('abort', () => machine.off(name, hear))
      }
      const finish = (end: () => void) => () => {
        if (leaving.signal.aborted) return
        leaving.abort()
        end()
      }
      void hasEnded.then(finish(() => controller.close()))
      const { signal: isLeaving } = leaving
      signal?.addEventListener(
        'abort',
        finish(() => controller.error(signal.reason)),
        { signal: isLeaving },
      )
    },
    cancel: () => leaving.abort(),
  })
}
