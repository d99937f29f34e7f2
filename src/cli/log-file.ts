import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { hasCode, reasonOf, TsvmmError } from '../util/errors.ts'
import { Log, type LogLevel } from '../util/log.ts'
import { standInLogForm } from './stand-in.ts'
import { isStandIn } from './version.ts'

/** -v is info, -vv and more debug. */
const levels: readonly LogLevel[] = ['warn', 'info', 'debug']

export interface OpenLog extends Disposable {
  readonly log: Log
}

/** The program's log: on standard error, or appended to a file that only its owner may read. Throws ERR_OPTION_INVALID. */
export function openLog(path: string | undefined, verbosity: number): OpenLog {
  const level = levels[Math.min(verbosity, levels.length - 1)] ?? 'warn'
  const options = { level, now: () => performance.now(), ...(isStandIn() ? { form: standInLogForm } : {}) }
  if (path === undefined) {
    return { log: new Log({ ...options, write: writeToStandardError }), [Symbol.dispose]() {} }
  }
  const fd = open(path)
  return {
    log: new Log({ ...options, write: line => append(fd, line) }),
    [Symbol.dispose]: () => closeSync(fd),
  }
}

/** Without O_NONBLOCK a FIFO would wait for its reader, and where no signal could end that. */
function open(path: string): number {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK, O_NOCTTY } = constants
  try {
    return openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY, 0o600)
  } catch (cause) {
    const reason = `${path}: ${hasCode(cause, 'ENXIO') ? 'nobody reads this FIFO' : reasonOf(cause)}`
    throw new TsvmmError('ERR_OPTION_INVALID', { option: '--log-file', reason }, { cause })
  }
}

/** Where nobody listens an error, as of a pipe whose reader has gone, ends the program. */
function writeToStandardError(line: string): void {
  if (process.stderr.listenerCount('error') === 0) process.stderr.on('error', () => {})
  process.stderr.write(line)
}

/**
 * Loses a line that cannot be written, as where the disk is full or the reader of a FIFO has gone: that must not end the machine, nor
 * waiting for a reader that lags behind stop it.
 */
function append(fd: number, line: string): void {
  try {
    writeSync(fd, line)
  } catch {
    // There is no other place to tell it.
  }
}
