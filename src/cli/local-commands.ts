import type { RemoteFlags } from './remote.ts'

export const consoleDevices = ['serial', 'console', 'debug-console'] as const
export type ConsoleDevice = (typeof consoleDevices)[number]

/** A command about the machines of this host, which finds them by itself. */
export interface LocalCommand {
  readonly name: 'ps' | 'top' | 'console'
  readonly summary: string
  /** It takes the number of a machine's process, or the socket where its API is served. */
  readonly takesMachine: boolean
  /** Options of its own, and what they do. */
  readonly options: readonly (readonly [flags: string, help: string])[]
}

/** In the order of help and reference. */
export const localCommands: readonly LocalCommand[] = [
  {
    ...{ name: 'ps', summary: 'list the machines of this host', takesMachine: false },
    options: [['--json', 'print them as JSON']],
  },
  {
    ...{ name: 'top', summary: 'show what machines of this host do, device by device', takesMachine: true },
    options: [
      ['--json', 'print a line of JSON for each machine and interval'],
      ['--interval <SECONDS>', 'measure that long, 0.1 to 3600 [1]'],
    ],
  },
  {
    ...{ name: 'console', summary: 'connect this terminal with a machine; Ctrl-A x leaves it', takesMachine: true },
    options: [['--port <NAME>', `${consoleDevices.join(', ')} [the first that somebody can connect with]`]],
  },
]

/** A command of these with what was given to it. */
export interface ChosenLocal {
  readonly machine?: string | undefined
  readonly options: Readonly<Record<string, unknown>>
  readonly flags: RemoteFlags
}
