import type { GuestMemory } from '../memory/guest-memory.ts'
import { alignDown, alignUp } from '../util/bytes.ts'
import type { BootFile } from './boot-file.ts'

/** Guest-physical memory from an address on. */
export interface MemoryRange {
  readonly guestAddress: number
  readonly sizeBytes: number
}

/** Part of a file and where it goes; what memory has more than the file is zero. */
export interface LoadSegment {
  readonly fileOffset: number
  readonly fileBytes: number
  readonly guestAddress: number
  readonly memoryBytes: number
}

export function memoryOf({ guestAddress, memoryBytes }: LoadSegment): MemoryRange {
  return { guestAddress, sizeBytes: memoryBytes }
}

/** "0x1000000 to 0x1800000" */
export function describeRange(range: MemoryRange): string {
  return `0x${range.guestAddress.toString(16)} to 0x${endOf(range).toString(16)}`
}

/** The first range that is not wholly inside one of `usable` or touches one of `taken`. */
export function findMisplaced(
  ranges: readonly MemoryRange[],
  usable: readonly MemoryRange[],
  taken: readonly MemoryRange[],
): MemoryRange | undefined {
  return ranges.find(range => !usable.some(each => contains(each, range)) || taken.some(each => overlaps(each, range)))
}

/** The first of the ranges, by address, that begins inside another. */
export function findOverlap(ranges: readonly MemoryRange[]): MemoryRange | undefined {
  const sorted = ranges.toSorted((a, b) => a.guestAddress - b.guestAddress)
  let end = 0
  for (const range of sorted) {
    if (range.guestAddress < end) return range
    end = Math.max(end, endOf(range))
  }
  return undefined
}

export interface FreeMemory {
  readonly alignmentBytes: number
  /** One past the last byte that may be used. */
  readonly limit: number
  readonly usable: readonly MemoryRange[]
  readonly taken: readonly MemoryRange[]
}

export interface Placement extends FreeMemory {
  readonly sizeBytes: number
}

/** The highest aligned address with so much free memory, or undefined where there is none. */
export function placeHighest({ sizeBytes, alignmentBytes, ...memory }: Placement): number | undefined {
  for (const gap of freeGaps(memory).toReversed()) {
    const guestAddress = alignDown(endOf(gap) - sizeBytes, alignmentBytes)
    if (guestAddress >= gap.guestAddress) return guestAddress
  }
  return undefined
}

/** The size of what placeHighest() could place at most. */
export function largestFree({ alignmentBytes, ...memory }: FreeMemory): number {
  const rooms = freeGaps(memory).map(gap => endOf(gap) - alignUp(gap.guestAddress, alignmentBytes))
  return Math.max(0, ...rooms)
}

/** What is left of usable memory, in ascending order. */
function freeGaps({ limit, usable, taken }: Omit<FreeMemory, 'alignmentBytes'>): MemoryRange[] {
  const blockers = taken.toSorted((a, b) => a.guestAddress - b.guestAddress)
  const gaps: MemoryRange[] = []
  for (const range of usable.toSorted((a, b) => a.guestAddress - b.guestAddress)) {
    const end = Math.min(endOf(range), limit)
    let start = range.guestAddress
    const close = (until: number) => {
      if (until > start) gaps.push({ guestAddress: start, sizeBytes: until - start })
    }
    for (const blocker of blockers) {
      close(Math.min(blocker.guestAddress, end))
      start = Math.max(start, endOf(blocker))
    }
    close(end)
  }
  return gaps
}

/**
 * Copies segments out of the file, all of them at once. Memory is fresh: what the file does not have of them is zero already. Each
 * promise settles when nobody reads the file for it any more.
 */
export function loadSegments(
  memory: GuestMemory,
  file: BootFile,
  segments: readonly LoadSegment[],
): readonly Promise<void>[] {
  return segments
    .filter(({ fileBytes }) => fileBytes > 0)
    .map(({ guestAddress, fileOffset, fileBytes }) => file.load(memory, guestAddress, fileOffset, fileBytes))
}

function endOf({ guestAddress, sizeBytes }: MemoryRange): number {
  return guestAddress + sizeBytes
}

function contains(outer: MemoryRange, inner: MemoryRange): boolean {
  return inner.guestAddress >= outer.guestAddress && endOf(inner) <= endOf(outer)
}

function overlaps(a: MemoryRange, b: MemoryRange): boolean {
  return a.guestAddress < endOf(b) && b.guestAddress < endOf(a)
}
