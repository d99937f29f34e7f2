import { reasonsOf, TsvmmError } from '../util/errors.ts'

/** An answer before it is written: no body is not the same as an empty one. */
export interface Reply {
  readonly status: number
  /** JSON in ASCII. */
  readonly body?: string
  /** Nothing more is read from this connection. */
  readonly closes?: boolean
}

/** ASCII alone: clients read in pieces and want whole characters in each. */
export function jsonReply(status: number, value: unknown): Reply {
  const text = JSON.stringify(value, (_, item: unknown) => (typeof item === 'bigint' ? Number(item) : item))
  return { status, body: text.replaceAll(/[\u007f-\uffff]/g, unicodeEscape) }
}

function unicodeEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

/** A refusal: what went wrong, from the outermost to the innermost reason, as a JSON array of strings. */
export function refusalReply(status: number, ...reasons: readonly string[]): Reply {
  return jsonReply(status, reasons)
}

const statuses: Partial<Record<TsvmmError['code'], number>> = {
  ERR_API_REQUEST: 400,
  ERR_CONFIG_INVALID: 400,
  ERR_VM_NOT_CREATED: 404,
  ERR_DEVICE_UNKNOWN: 404,
  ERR_DEVICE_FIXED: 400,
  ERR_DEVICE_SIZE: 400,
  ERR_NOT_SUPPORTED: 501,
}

/** The reply for what a request came to. `failure` says what could not be done. */
export function errorReply(failure: string, error: unknown): Reply {
  return refusalReply(statusOf(error), 'Error from API', failure, ...reasonsOf(error))
}

function statusOf(error: unknown): number {
  if (!(error instanceof TsvmmError)) return 500
  return error.details['conflict'] === undefined ? (statuses[error.code] ?? 500) : 409
}
