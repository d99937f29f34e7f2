import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { cacheDirectory, makeOnce } from '../cache.ts'
import { convertToRaw } from './convert.ts'
import { type DownloadOptions, download } from './download.ts'
import type { ImageSource } from './image-catalog.ts'

/** Where the distributions' images are, as raw disks: one file for each state of an image, named by its digest. */
export function cachedImagesFolder(): string {
  return join(cacheDirectory(), 'cloud-images')
}

export interface CachedImageOptions {
  readonly folder?: string
  readonly onProgress?: DownloadOptions['onProgress']
}

/** Downloads and converts an image where that was not done yet, and returns where it is. What was cut off is gone on with. */
export async function cacheImage(
  name: string,
  { url, digest }: ImageSource,
  { folder = cachedImagesFolder(), onProgress }: CachedImageOptions = {},
): Promise<string> {
  const key = digest.hex.slice(0, 16)
  const path = join(folder, `${name}-${key}.raw`)
  mkdirSync(folder, { recursive: true })
  await makeOnce(path, async temporary => {
    const image = join(folder, `${key}-${basename(new URL(url).pathname)}`)
    const progress = onProgress === undefined ? {} : { onProgress }
    if (!existsSync(image)) await download({ url, file: image, digest, ...progress })
    convertToRaw(image, temporary)
    rmSync(image)
  })
  return path
}

/** The image of that name that came to the cache last; undefined where none did. */
export function newestCachedImage(name: string, folder = cachedImagesFolder()): string | undefined {
  if (!existsSync(folder)) return undefined
  const files = readdirSync(folder).filter(file => new RegExp(`^${name}-[0-9a-f]{16}\\.raw$`).test(file))
  const paths = files.map(file => join(folder, file))
  return paths.toSorted((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0]
}
