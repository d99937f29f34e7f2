import { execa } from 'execa'
import { GuestConsole } from './guest-console.ts'

const program = new URL('../../dist/tsvmm', import.meta.url).pathname

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

/** A `tsvmm` run with its serial console at hand; disposing kills what still runs. */
export class TsvmmProcess implements AsyncDisposable {
  readonly console: GuestConsole
  readonly #process: ReturnType<typeof launch>

  /** `through`: a program, with its arguments, that becomes the one that is named behind them. */
  constructor(args: readonly string[], through: readonly string[] = []) {
    const [first = program, ...others] = through
    this.#process = launch([first, ...others, ...(through.length === 0 ? [] : [program]), ...args])
    this.console = new GuestConsole(this.#process.stdout, this.#process.stdin, () => this.#epilogue())
  }

  get pid(): number {
    const { pid } = this.#process
    if (pid === undefined) throw new Error('tsvmm did not start')
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

/** Runs `tsvmm` to its end without a guest: for bad input. */
export async function runTsvmm(args: readonly string[]): Promise<ExitStatus> {
  const { exitCode, signal, stderr } = await execa(program, args, {
    reject: false,
    stdin: 'ignore',
    timeout: 30_000,
  })
  return { exitCode, signal, stderr: String(stderr) }
}
