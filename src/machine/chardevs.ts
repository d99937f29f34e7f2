import { type Chardev, nullChardev } from '../backends/chardev.ts'
import { FileChardev } from '../backends/file-chardev.ts'
import { PtyChardev } from '../backends/pty-chardev.native.ts'
import { type ConsoleListener, type JoinedConsole, SharedConsole } from '../backends/shared-console.ts'
import { SocketChardev } from '../backends/socket-chardev.ts'
import { TerminalChardev } from '../backends/terminal-chardev.ts'
import { flagOf } from '../config/unsupported.ts'
import type { ChardevConfig, VmConfig } from '../config/vm-config.ts'

export type { ConsoleListener, JoinedConsole }

/** The devices of a machine that have one, by their names in its configuration. */
export const chardevOwners = ['serial', 'console', 'debug_console'] as const
export type ChardevOwner = (typeof chardevOwners)[number]

/** The pseudo terminals of a machine, by who has them. */
export type Terminals = ReadonlyMap<ChardevOwner, string>

/** Those of a machine that others can join, by who has them. */
export type Consoles = ReadonlyMap<ChardevOwner, SharedConsole>

/** Opens what a machine's serial port and consoles go to. */
export class Chardevs {
  readonly #config: VmConfig
  readonly #onEnd: () => void
  readonly #arrives: boolean
  readonly #terminals = new Map<ChardevOwner, string>()
  readonly #consoles = new Map<ChardevOwner, SharedConsole>()

  /** `onEnd` is called where the person at the terminal asks for the end. Of a machine that arrives another host has the same files. */
  constructor(config: VmConfig, onEnd: () => void, arrives = false) {
    this.#config = config
    this.#onEnd = onEnd
    this.#arrives = arrives
  }

  /** Where clients find the pseudo terminals that are open. */
  get terminals(): Terminals {
    return this.#terminals
  }

  get consoles(): Consoles {
    return this.#consoles
  }

  /** Throws ERR_CHARDEV naming the flag of `owner`. */
  async open(owner: ChardevOwner): Promise<Chardev> {
    const target = this.#config[owner]
    const chardev = await this.#open(flagOf(owner), target)
    if (target.mode === 'Pty' && chardev.path !== undefined) this.#terminals.set(owner, chardev.path)
    const shared = new SharedConsole(chardev)
    this.#consoles.set(owner, shared)
    return shared.chardev
  }

  async #open(option: string, target: ChardevConfig): Promise<Chardev> {
    switch (target.mode) {
      case 'File':
        return FileChardev.open(option, target.file ?? '', this.#arrives)
      case 'Socket':
        return SocketChardev.open(option, target.socket ?? '')
      case 'Pty':
        return PtyChardev.open(option)
      case 'Tty': {
        // Behind a relay that has put a terminal into raw mode (the nested lab) a person types as well.
        const hasPerson = process.env['TSVMM_TERMINAL'] === '1'
        return new TerminalChardev({ input: process.stdin, output: process.stdout, hasPerson, onEnd: this.#onEnd })
      }
      default:
        return nullChardev
    }
  }
}
