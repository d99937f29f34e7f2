import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { Packr, Unpackr } from 'msgpackr'
import * as z from 'zod/mini'
import type { ComponentRecord } from '../state/walk.ts'
import { seldomChecked } from '../util/issues.ts'

/** The records of a machine: MessagePack, compressed. */

/** A machine of a thousand devices and vCPUs has a few megabytes of state. */
const largestBytes = 256 * 1024 * 1024

const text = z.string().check(z.minLength(1), z.maxLength(1024), z.regex(/^\P{Cc}*$/u))
const recordsSchema = z.array(
  z.strictObject({
    component: text,
    id: text,
    version: z.number().check(z.int(), z.gte(1)),
    body: z.instanceof(Uint8Array),
    isDispensable: z.optional(z.boolean()),
  }),
)

const packr = new Packr({ useRecords: false, variableMapSize: true })
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, copyBuffers: true })

export function encodeRecords(records: readonly ComponentRecord[]): Uint8Array<ArrayBuffer> {
  return zstdCompressSync(packr.pack(records))
}

/** Throws TypeError with a reason in one line for what is no such file. */
export function decodeRecords(bytes: Uint8Array): ComponentRecord[] {
  const result = z.safeParse(recordsSchema, unpack(bytes), seldomChecked)
  if (!result.success) throw new TypeError('it does not hold the records of a machine')
  return result.data
}

function unpack(bytes: Uint8Array): unknown {
  try {
    // Whatever length the frame claims, no more than this is made of it.
    const content = zstdDecompressSync(bytes, { maxOutputLength: largestBytes })
    // Of a Buffer the records' byte fields would be Buffers too.
    return unpackr.unpack(new Uint8Array(content.buffer, content.byteOffset, content.byteLength))
  } catch (cause) {
    throw new TypeError('it cannot be read', { cause })
  }
}
