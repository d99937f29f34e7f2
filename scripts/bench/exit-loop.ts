/** What a guest shall do again and again, and where it notes how long it took. */
export interface TimedLoop {
  readonly count: number
  /** Instructions; may change eax and flags. */
  readonly access: readonly number[]
  /** Between accesses, in ticks of the time stamp counter. */
  readonly pauseTicks: number
  /** An array of 32-bit numbers below 64 KiB: the ticks that each access took. */
  readonly samplesAt: number
  /** What es points to. */
  readonly segment: number
}

/** Machine code in 16 bits (Intel SDM Vol. 2): times each of `count` accesses with rdtsc. */
export function timedLoop({ count, access, pauseTicks, samplesAt, segment }: TimedLoop): number[] {
  const rdtsc = [0x0f, 0x31]
  const movEsiEax = [0x66, 0x89, 0xc6]
  const subEaxEsi = [0x66, 0x29, 0xf0]
  const movAtDiEax = [0x66, 0x89, 0x05]
  const addDi4 = [0x83, 0xc7, 4]
  // cmp eax, ticks; jb back to the rdtsc that asks again
  const pause = [0xf3, 0x90]
  const again = [...pause, ...rdtsc, ...subEaxEsi, 0x66, 0x3d, ...littleEndian(pauseTicks, 4)]
  const wait = pauseTicks === 0 ? [] : [...rdtsc, ...movEsiEax, ...again, 0x72, 0x100 - (again.length + 2)]
  const timed = [...rdtsc, ...movEsiEax, ...access, ...rdtsc, ...subEaxEsi, ...movAtDiEax, ...addDi4]
  const body = [...wait, ...timed, 0x66, 0x49] // dec ecx
  return [
    ...[0xb8, ...littleEndian(segment, 2), 0x8e, 0xc0], // mov ax, segment; mov es, ax
    ...[0x31, 0xc0, 0x8e, 0xd8], // xor ax, ax; mov ds, ax
    ...[0xbf, ...littleEndian(samplesAt, 2)], // mov di, samplesAt
    ...[0x66, 0xb9, ...littleEndian(count, 4)], // mov ecx, count
    ...[...body, 0x75, 0x100 - (body.length + 2)], // jnz
  ]
}

/** mov es:[offset], ax */
export function storeAxToEs(offset: number): number[] {
  return [0x26, 0xa3, ...littleEndian(offset, 2)]
}

function littleEndian(value: number, width: number): number[] {
  return Array.from({ length: width }, (_, index) => (Math.trunc(value) >>> (8 * index)) & 0xff)
}
