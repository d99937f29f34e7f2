import { execa } from 'execa'
import { newestCachedImage } from '../lib/images/cached-images.ts'
import { imageNames, locateImage } from '../lib/images/image-catalog.ts'
import type { ChosenImage, MatrixImage } from './plan.ts'

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
  /** Where an image is in the cache. */
  readonly cached?: (name: string) => string | undefined
}

/** An image that is not yet, or not known to be, on this machine. */
export interface AvailableImage extends ChosenImage {
  /** Makes or fetches it, and says where it is. */
  obtain(): Promise<string>
}

/** The images of the matrix: the distributions' own where they are cached or can be had, and what stands in for the others. */
export async function chooseImages(choice: ImageChoice): Promise<AvailableImage[]> {
  const { wanted, say } = choice
  const images: AvailableImage[] = []
  for (const { name, distro, for: names } of standIns) {
    const named = names.filter(each => wanted.length === 0 || wanted.includes(each))
    const real: AvailableImage[] = []
    for (const each of named) {
      const obtain = await wayToObtain(each, choice)
      if (obtain !== undefined) real.push({ name: each, distro, isReal: true, obtain })
    }
    const isNeeded = real.length === 0 && (wanted.length === 0 || named.length > 0)
    if (isNeeded && !wanted.includes(name)) say(`${name} stands in for ${named.join(', ')}`)
    if (isNeeded || wanted.includes(name)) images.push({ name, distro, isReal: false, obtain: () => madeHere(name) })
    images.push(...real)
  }
  return images
}

export async function obtainImages(images: readonly AvailableImage[]): Promise<MatrixImage[]> {
  const obtained: MatrixImage[] = []
  for (const { obtain, ...image } of images) obtained.push({ ...image, path: await obtain() })
  return obtained
}

async function madeHere(name: string): Promise<string> {
  const { stdout } = await execa('scripts/make-image', [name], { stderr: 'inherit' })
  return stdout
}

/** Undefined where it is not cached and cannot be had. */
async function wayToObtain(
  name: string,
  { isOffline, cached = newestCachedImage }: ImageChoice,
): Promise<AvailableImage['obtain'] | undefined> {
  const path = cached(name)
  const take = path === undefined ? undefined : async () => path
  if (isOffline) return take
  try {
    // The list of checksums is small: where it cannot be had, the image cannot.
    await locateImage(name)
  } catch {
    return take
  }
  return async () => (await execa('scripts/fetch-image', [name], { stderr: 'inherit' })).stdout
}
