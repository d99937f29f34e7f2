import { Packr, Unpackr } from 'msgpackr'
import * as z from 'zod/mini'
import { compress } from 'zstd-napi'
import binding from 'zstd-napi/binding.js'
import type { ComponentRecord } from '../state/walk.ts'

/** The records of a machine: MessagePack, compressed. */

/** A machine of a thousand devices and vCPUs has a few megabytes of state. */
const largestBytes = 256 * 1024 * 1024

const text = z.string().check(z.minLength(1), z.maxLength(1024))
const recordsSchema = z.array(
  z.strictObject({
    component: text,
    id: text,
    version: z.number().check(z.int(), z.gte(1)),
    body: z.instanceof(Uint8Array),
  }),
)

const packr = new Packr({ useRecords: false, variableMapSize: true })
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, copyBuffers: true })

export function encodeRecords(records: readonly ComponentRecord[]): Uint8Array {
  return compress(packr.pack(records))
}

/** Throws TypeError with a reason in one line for what is no such file. */
export function decodeRecords(bytes: Uint8Array): ComponentRecord[] {
  const result = z.safeParse(recordsSchema, unpack(bytes))
  if (!result.success) throw new TypeError('it does not hold the records of a machine')
  return result.data
}

function unpack(bytes: Uint8Array): unknown {
  try {
    // The frame says how long its content is: nothing is allocated for a claim that no machine could make.
    const length = binding.getFrameContentSize(bytes)
    if (length === null || length > largestBytes) throw new TypeError('its length is not credible')
    const content = new Uint8Array(length)
    if (binding.decompress(content, bytes) !== length) throw new TypeError('it ends early')
    return unpackr.unpack(content)
  } catch (cause) {
    throw new TypeError('it cannot be read', { cause })
  }
}
