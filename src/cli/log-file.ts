import { closeSync, openSync, writeSync } from 'node:fs'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import { Log, type LogLevel } from '../util/log.ts'

/** -v is info, -vv and more debug. */
const levels: readonly LogLevel[] = ['warn', 'info', 'debug']

export interface OpenLog extends Disposable {
  readonly log: Log
}

/** The program's log: on standard error, or appended to a file that only its owner may read. Throws ERR_OPTION_INVALID. */
export function openLog(path: string | undefined, verbosity: number): OpenLog {
  const level = levels[Math.min(verbosity, levels.length - 1)] ?? 'warn'
  const now = () => performance.now()
  if (path === undefined) {
    const write = (line: string) => process.stderr.write(line)
    return { log: new Log({ level, write, now }), [Symbol.dispose]() {} }
  }
  const fd = open(path)
  return {
    log: new Log({ level, write: line => writeSync(fd, line), now }),
    [Symbol.dispose]: () => closeSync(fd),
  }
}

function open(path: string): number {
  try {
    return openSync(path, 'a', 0o600)
  } catch (cause) {
    const reason = `${path}: ${reasonOf(cause)}`
    throw new TsvmmError('ERR_OPTION_INVALID', { option: '--log-file', reason }, { cause })
  }
}
