import { Layout } from '../util/bytes.ts'

/** What a connection is for. */
export type ConnectionRole = 'control' | 'memory' | 'faults' | 'descriptors'

/** The first bytes of every connection, from the source: that it belongs to a migration, to which, and what it is for. */
export interface Preamble {
  readonly role: ConnectionRole
  /** Counts those of its role, from 0. */
  readonly number: number
  /** Of the migration: 16 random bytes, in hexadecimal. Who knows them may take part. */
  readonly id: string
}

const roles: readonly ConnectionRole[] = ['control', 'memory', 'faults', 'descriptors']
/** "TSVMMIG1". */
const magic = 0x3147_494d_4d56_5354n
const idOffset = 16

const layout = new Layout(32, {
  magic: { offset: 0, width: 8 },
  role: { offset: 8, width: 4 },
  number: { offset: 12, width: 4 },
})

export const preambleBytes = layout.sizeBytes

export function encodePreamble({ role, number, id }: Preamble): Uint8Array<ArrayBuffer> {
  const bytes = layout.encode({ magic, role: roles.indexOf(role), number })
  bytes.set(Buffer.from(id, 'hex'), idOffset)
  return bytes
}

/** Nothing for what is none. */
export function decodePreamble(bytes: Uint8Array): Preamble | undefined {
  if (bytes.length !== preambleBytes || layout.read(bytes, 'magic') !== magic) return undefined
  const role = roles[layout.readNumber(bytes, 'role')]
  if (role === undefined) return undefined
  const id = Buffer.from(bytes.subarray(idOffset)).toString('hex')
  return { role, number: layout.readNumber(bytes, 'number'), id }
}
