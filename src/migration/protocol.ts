import { Packr, Unpackr } from 'msgpackr'
import * as z from 'zod/mini'
import { cpuSchema } from '../machine/cpu-fingerprint.ts'
import { reasonOf } from '../util/errors.ts'
import { describeIssue, seldomChecked } from '../util/issues.ts'

/**
 * What both sides of a migration say to each other over the control connection (docs/migration-protocol.md): MessagePack maps,
 * each with its `type`. A field that is not known is ignored, so that a later version may add some; what a peer must not ignore
 * is a feature.
 */

/** The versions of the protocol that are spoken here. */
export const protocolVersions = { oldest: 1, newest: 1 } as const

/** What is known here of that which a peer must not ignore. */
export const protocolFeatures = ['late-memory', 'handover'] as const

/** The machine may go on at the destination before all of its memory is there. */
export const lateMemory = protocolFeatures[0]

/** Memory, disks and cards are taken over by their descriptors, on the same host: nothing is copied. */
export const handover = protocolFeatures[1]

const version = z.number().check(z.int(), z.gte(1), z.lte(0xffff))
const count = z.number().check(z.int(), z.gte(0), z.lte(Number.MAX_SAFE_INTEGER))
const text = z.string().check(z.maxLength(4096))
const name = z.string().check(z.minLength(1), z.maxLength(1024))
const bytes = z.instanceof(Uint8Array)
const software = z.object({ name: text, version: text })
/** By its id: the newest version of each schema of a saved state that is known. */
const schemas = z.record(name, version)

/** From the source, first of all. */
export const helloSchema = z.object({
  type: z.literal('hello'),
  protocol: z.object({ oldest: version, newest: version }),
  software,
  /** What the destination must know of, beside the protocol. */
  features: z.array(name).check(z.maxLength(64)),
  architecture: name,
  schemas,
})

/** From the destination: what is spoken from now on. */
export const welcomeSchema = z.object({ type: z.literal('welcome'), version, software, schemas })

/** The machine that is to come. */
export const machineSchema = z.object({
  type: z.literal('machine'),
  /** As vm.create has it, with absolute paths: to be checked as any configuration. */
  config: z.unknown(),
  cpu: cpuSchema,
  ranges: z
    .array(z.object({ guestAddress: count, sizeBytes: count.check(z.gte(1)) }))
    .check(z.minLength(1), z.maxLength(4096)),
  /** For memory; none of a machine that is handed over. */
  connections: z.number().check(z.int(), z.gte(0), z.lte(128)),
  /** Of one that is handed over: how many descriptors come of each component, in this order. */
  descriptors: z.optional(
    z
      .array(z.object({ component: name, count: z.number().check(z.int(), z.gte(1), z.lte(1024)) }))
      .check(z.maxLength(4096)),
  ),
})

/**
 * From the destination: the machine that was announced is built, and connections for its memory may come. `records` is its state
 * as it was built: of the same components.
 */
export const acceptedSchema = z.object({ type: z.literal('accepted'), records: bytes })

/** A pass over the memory begins: so many pages of 4 KiB. For who watches. */
export const passSchema = z.object({ type: z.literal('pass'), number: count, pages: count })

/** The machine stands still: this is its state, compressed, and its memory is complete at the end of this pass. */
export const stateSchema = z.object({
  ...{ type: z.literal('state'), pass: count, records: bytes },
  /** Pages that come later, when they are asked for and by themselves: a bitmap, compressed. None where absent. */
  missing: z.optional(bytes),
  /** It stays paused at the destination, too. */
  isPaused: z.boolean(),
  /** For how long it stood still when this was sent. */
  pausedMs: z.number().check(z.gte(0)),
})

/** From the source of a machine that has gone, and some of its memory has not: new connections for that come. */
export const restSchema = z.object({
  type: z.literal('rest'),
  connections: z.number().check(z.int(), z.gte(1), z.lte(128)),
})

/** From the destination: what is still to come, as in `state`. */
export const missingSchema = z.object({ type: z.literal('missing'), pages: bytes })

const reason = z.object({ reason: text })

export const messageSchema = z.discriminatedUnion('type', [
  helloSchema,
  machineSchema,
  passSchema,
  stateSchema,
  z.object({ type: z.literal('commit') }),
  z.object({ type: z.literal('abort'), ...reason.shape }),
  restSchema,
  /** The rest of the memory never comes. */
  z.object({ type: z.literal('lost'), ...reason.shape }),
  z.object({ type: z.literal('bye') }),
  welcomeSchema,
  acceptedSchema,
  missingSchema,
  /** All of the memory is there. */
  z.object({ type: z.literal('complete') }),
  z.object({ type: z.literal('ready') }),
  /** It cannot be taken over; the source keeps it. */
  z.object({ type: z.literal('failed'), ...reason.shape }),
  z.object({ type: z.literal('owned') }),
  z.object({ type: z.literal('returned'), ...reason.shape }),
  /** Either side is there still. */
  z.object({ type: z.literal('beat') }),
])

export type Message = z.output<typeof messageSchema>
export type MessageType = Message['type']
export type MessageOf<Type extends MessageType> = Extract<Message, { type: Type }>

const packr = new Packr({ useRecords: false, variableMapSize: true, encodeUndefinedAsNil: true })
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, copyBuffers: true })

export function encodeMessage(message: Message): Uint8Array {
  return packr.pack(message)
}

/** Throws TypeError with a reason in one line for what is no message. */
export function decodeMessage(content: Uint8Array): Message {
  const result = z.safeParse(messageSchema, unpack(content), seldomChecked)
  if (result.success) return result.data
  const [issue] = result.error.issues
  if (issue === undefined) throw new TypeError('a message is not valid')
  const { path, reason: why } = describeIssue(issue)
  throw new TypeError(`a message: ${[...path, why].join(': ')}`)
}

function unpack(content: Uint8Array): unknown {
  try {
    // A view of our own: of a Buffer the byte fields would be Buffers too.
    return unpackr.unpack(new Uint8Array(content.buffer, content.byteOffset, content.length))
  } catch (cause) {
    throw new TypeError(`a message cannot be read: ${reasonOf(cause)}`, { cause })
  }
}

/**
 * The version that both speak: the newest. Throws TypeError that says what both have where there is none.
 */
export function commonVersion(
  own: { readonly oldest: number; readonly newest: number },
  other: { readonly oldest: number; readonly newest: number },
): number {
  const newest = Math.min(own.newest, other.newest)
  if (newest >= own.oldest && newest >= other.oldest) return newest
  const range = ({ oldest, newest: last }: typeof own) => (oldest === last ? `${last}` : `${oldest} to ${last}`)
  throw new TypeError(`it speaks version ${range(other)} of the protocol, and ${range(own)} is spoken here`)
}
