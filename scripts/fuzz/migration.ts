import { decodePages, encodePages } from '../../src/migration/missing-pages.ts'
import { decodePreamble, encodePreamble } from '../../src/migration/preamble.ts'
import { decodeMessage, encodeMessage, type Message } from '../../src/migration/protocol.ts'
import { refusesWithTypeError, type Target, timed } from './target.ts'

const pages = 1000

/** One of every kind. */
const messages: readonly Message[] = [
  {
    ...{ type: 'hello', protocol: { oldest: 1, newest: 2 }, software: { name: 'tsvmm', version: '1' } },
    ...{ features: ['late-memory'], architecture: 'x64', schemas: { 'virtio-blk': 1, 'virtio-net': 2 } },
  },
  { type: 'welcome', version: 1, software: { name: 'tsvmm', version: '1' }, schemas: { 'virtio-blk': 1 } },
  {
    ...{ type: 'machine', config: { payload: { kernel: '/vmlinux' }, disks: [{ path: '/a' }] }, connections: 4 },
    ...{ cpu: { architecture: 'aarch64' }, ranges: [{ guestAddress: 0, sizeBytes: 4096 }] },
  },
  { type: 'accepted', records: Uint8Array.of(1, 2, 3) },
  { type: 'pass', number: 1, pages: 2 ** 40 },
  { type: 'state', pass: 2, records: new Uint8Array(100), isPaused: false, pausedMs: 1.5 },
  { type: 'state', pass: 2, records: new Uint8Array(9), missing: Uint8Array.of(1), isPaused: true, pausedMs: 0 },
  { type: 'rest', connections: 128 },
  { type: 'missing', pages: Uint8Array.of(1, 2) },
  { type: 'lost', reason: 'gone' },
  { type: 'returned', reason: 'no' },
  { type: 'commit' },
]

/** The first byte says what the others are: a message, a preamble, or a set of pages. */
export function migrationTarget(): Target {
  const preamble = encodePreamble({ role: 'memory', number: 3, id: 'ab'.repeat(16) })
  const bitmap = new Uint8Array(Math.ceil(pages / 64) * 8).fill(0x55, 0, pages / 8)
  return {
    examples: [
      ...messages.map(message => Uint8Array.of(0, ...encodeMessage(message))),
      Uint8Array.of(1, ...preamble),
      Uint8Array.of(2, ...encodePages(bitmap)),
    ],
    judge: timed(bytes => {
      const [kind = 0] = bytes
      const content = bytes.slice(1)
      if (kind % 3 === 1) judgePreamble(content)
      else refusesWithTypeError(() => (kind % 3 === 0 ? judgeMessage(content) : decodePages(content, pages)))
    }),
  }
}

/** What was taken can be written, and is the same again. */
function judgeMessage(content: Uint8Array): void {
  const again = encodeMessage(decodeMessage(content))
  if (Buffer.compare(again, encodeMessage(decodeMessage(again))) !== 0) throw new Error('a message is not what it was')
}

function judgePreamble(content: Uint8Array): void {
  const preamble = decodePreamble(content)
  if (preamble !== undefined && Buffer.compare(encodePreamble(preamble), content) !== 0) {
    throw new Error('a preamble is not what it was')
  }
}
