import { TsvmmError } from '../util/errors.ts'

export function migrationError(reason: string, cause?: unknown): TsvmmError {
  return new TsvmmError('ERR_MIGRATION', { reason }, cause === undefined ? {} : { cause })
}
