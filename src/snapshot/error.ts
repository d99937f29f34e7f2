import { reasonOf, TsvmmError } from '../util/errors.ts'

/** What is wrong with a snapshot: the directory, the file in it and the reason. */
export function snapshotError(directory: string, file: string, cause: unknown): TsvmmError {
  const reason = typeof cause === 'string' ? cause : reasonOf(cause)
  const path = file === '' ? directory : `${directory}/${file}`
  return new TsvmmError('ERR_SNAPSHOT', { path, reason }, typeof cause === 'string' ? {} : { cause })
}
