import type { BootFile } from './boot-file.ts'
import { largestFree, type MemoryRange, placeHighest } from './placement.ts'

const pageBytes = 4096

/**
 * Where an initramfs goes: as high below `limit` as memory allows, out of the way of everything that grows upwards.
 * Throws ERR_INITRAMFS where there is no room.
 */
export function placeInitramfs(
  file: BootFile,
  limit: number,
  usable: readonly MemoryRange[],
  taken: readonly MemoryRange[],
): MemoryRange {
  const { sizeBytes } = file
  const guestAddress = placeHighest({ sizeBytes, alignmentBytes: pageBytes, limit, usable, taken })
  if (guestAddress !== undefined) return { guestAddress, sizeBytes }
  const room = largestFree({ alignmentBytes: pageBytes, limit, usable, taken })
  const reason = `${sizeBytes} bytes; beside the kernel there is room for ${room}; is --memory large enough?`
  throw file.error('ERR_INITRAMFS', reason)
}
