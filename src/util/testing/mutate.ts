import { below, type Random } from './random.ts'

/** Values at which lengths and signs turn over, also those that MessagePack's type bytes begin with. */
const telling = [0, 1, 0x7f, 0x80, 0x8f, 0x90, 0xc0, 0xc1, 0xc4, 0xc6, 0xcb, 0xcf, 0xd3, 0xd9, 0xdb, 0xdd, 0xdf, 0xff]
const mostChanges = 4

/** A copy with one to four changes: bytes that are others, gone, doubled, or come from another place. */
export function mutate(bytes: Uint8Array, random: Random): Uint8Array {
  let changed = Buffer.from(bytes)
  for (let left = 1 + below(random, mostChanges); left > 0; left -= 1) {
    const place = below(random, changed.length + 1)
    const length = 1 + below(random, 8)
    switch (below(random, 6)) {
      case 0:
        if (place < changed.length) changed[place] = below(random, 256)
        break
      case 1:
        if (place < changed.length) changed[place] = telling[below(random, telling.length)] ?? 0
        break
      case 2:
        changed = Buffer.concat([changed.subarray(0, place), changed.subarray(place + length)])
        break
      case 3:
        changed = Buffer.concat([changed.subarray(0, place), changed.subarray(Math.max(0, place - length))])
        break
      case 4: {
        const from = below(random, changed.length + 1)
        changed = Buffer.concat([
          changed.subarray(0, place),
          changed.subarray(from, from + length),
          changed.subarray(place),
        ])
        break
      }
      default:
        changed = changed.subarray(0, place)
    }
  }
  return Uint8Array.from(changed)
}
