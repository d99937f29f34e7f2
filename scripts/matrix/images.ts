import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { cacheDirectory } from '../lib/cache.ts'
import { imageNames, locateImage } from '../lib/images/image-catalog.ts'
import type { MatrixImage } from './plan.ts'

/** What each stands in for, where none of these can be had. */
const standIns = [
  { name: 'ubuntu-like', distro: 'ubuntu', for: imageNames.filter(name => !name.startsWith('fedora')) },
  { name: 'fedora-like', distro: 'fedora', for: imageNames.filter(name => name.startsWith('fedora')) },
] as const

export const matrixImageNames: readonly string[] = [...imageNames, ...standIns.map(({ name }) => name)]

export interface ImageChoice {
  /** Those that are cached already are taken, others are not asked for. */
  readonly isOffline: boolean
  /** All where there are none. */
  readonly wanted: readonly string[]
  readonly say: (line: string) => void
}

/** The images of the matrix: the distributions' own where they are cached or can be had, and what stands in for the others. */
export async function chooseImages({ isOffline, wanted, say }: ImageChoice): Promise<MatrixImage[]> {
  const images: MatrixImage[] = []
  for (const standIn of standIns) {
    const named = standIn.for.filter(name => wanted.length === 0 || wanted.includes(name))
    const real: MatrixImage[] = []
    for (const name of named) {
      const path = await pathOf(name, isOffline, say)
      if (path !== undefined) real.push({ name, distro: standIn.distro, isReal: true, path })
    }
    const isWanted = wanted.includes(standIn.name)
    const isNeeded = real.length === 0 && (wanted.length === 0 || named.length > 0)
    if (isWanted || isNeeded) {
      const { stdout } = await execa('scripts/fixtures', [standIn.name], { stderr: 'inherit' })
      const path = join(stdout, 'disk.raw')
      if (isNeeded && !isWanted) say(`${standIn.name} stands in for ${named.join(', ')}`)
      images.push({ name: standIn.name, distro: standIn.distro, isReal: false, path })
    }
    images.push(...real)
  }
  return images
}

/** Undefined where it is not cached and cannot be had. */
async function pathOf(name: string, isOffline: boolean, say: (line: string) => void): Promise<string | undefined> {
  if (isOffline) return newestCached(name)
  try {
    // The list of checksums is small: where it cannot be had, the image cannot.
    await locateImage(name)
  } catch {
    return newestCached(name)
  }
  say(`${name} is fetched`)
  const { stdout } = await execa('scripts/fetch-image', [name], { stderr: 'inherit' })
  return stdout.trim()
}

function newestCached(name: string): string | undefined {
  const folder = join(cacheDirectory(), 'cloud-images')
  let files: string[]
  try {
    files = readdirSync(folder).filter(file => file.startsWith(`${name}-`) && file.endsWith('.raw'))
  } catch {
    return undefined
  }
  const paths = files.map(file => join(folder, file))
  return paths.toSorted((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0]
}
