import { execa } from 'execa'
import { type ExitStatus, GuestProcess } from './guest-process.ts'

const program = new URL('../../dist/tsvmm', import.meta.url).pathname

/** A `tsvmm` run with its serial console at hand; disposing kills what still runs. */
export class TsvmmProcess extends GuestProcess {
  /** `through`: a program, with its arguments, that becomes the one that is named behind them. */
  constructor(args: readonly string[], through: readonly string[] = []) {
    const [first = program, ...others] = through
    super([first, ...others, ...(through.length === 0 ? [] : [program]), ...args])
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
