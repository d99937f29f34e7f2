import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { Ticks } from './ticks.ts'

/** A VMM whose console is its standard output; killed when disposed of. */
export class TickingProcess implements AsyncDisposable {
  readonly ticks: Ticks
  readonly #child: ChildProcess

  constructor(name: string, [program = '', ...args]: readonly string[]) {
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    this.ticks = new Ticks(this.#child, name)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL')
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'exit')
  }
}
