import { mkdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { DiskToCopy } from './disk-plan.ts'

/** Where copies are: in a directory, where they stay, or beside the disks, to be removed once they are open. */
export type CopyPlace = { readonly directory: string } | 'beside'

/** The path of a copy: of a clone with its number. */
export async function pathOfCopy(
  place: CopyPlace,
  { id, path }: Pick<DiskToCopy, 'id' | 'path'>,
  number?: number | 'frozen',
): Promise<string> {
  if (place === 'beside') return join(dirname(path), `.${basename(path)}.${crypto.randomUUID()}`)
  await mkdir(place.directory, { recursive: true })
  return join(place.directory, number === undefined ? `${id}.img` : `${id}-${number}.img`)
}
