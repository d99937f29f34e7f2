import { execa } from 'execa'
import { GuestConsole } from './guest-console.ts'

export interface ExitStatus {
  readonly exitCode: number | undefined
  readonly signal: string | undefined
  readonly stderr: string
}

function launch([file, ...args]: readonly [string, ...string[]]) {
  return execa(file, args, {
    reject: false,
    buffer: { stdout: false },
    stdin: 'pipe',
  })
}

/** A program that runs a guest, with its serial console at hand; disposing kills what still runs. */
export class GuestProcess implements AsyncDisposable {
  readonly console: GuestConsole
  readonly #process: ReturnType<typeof launch>

  constructor(command: readonly [string, ...string[]]) {
    this.#process = launch(command)
    this.console = new GuestConsole(this.#process.stdout, this.#process.stdin, () => this.#epilogue())
  }

  get pid(): number {
    const { pid } = this.#process
    if (pid === undefined) throw new Error('the program did not start')
    return pid
  }

  async exit(): Promise<ExitStatus> {
    const { exitCode, signal, stderr } = await this.#process
    return { exitCode, signal, stderr }
  }

  async #epilogue(): Promise<string> {
    const { exitCode, signal, stderr } = await this.exit()
    return ` (${signal ?? `exit code ${exitCode}`}${stderr === '' ? '' : `: ${stderr}`})`
  }

  /** Powers the guest off from inside and waits for the process. */
  async powerOff(): Promise<ExitStatus> {
    this.console.type('poweroff\n')
    return this.exit()
  }

  kill(signal: NodeJS.Signals = 'SIGTERM'): void {
    this.#process.kill(signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill('SIGKILL')
    await this.#process
  }
}
