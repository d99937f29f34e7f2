import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { TsvmmError } from '../util/errors.ts'

/** What an addon is made for, in Node's words: `linux` and `x64`. */
export interface Host {
  readonly platform: string
  readonly arch: string
}

/** A checkout's own, seen from the bundle and from the sources. */
const built = { fromBundle: '../build/tsvmm.node', fromSources: '../../build/tsvmm.node' }

/** Where a package has one for each host that it is for: `linux-x64/tsvmm.node`. */
const prebuilds = '../prebuilds'

/** The addon for this host, seen from the folder that the code was loaded from. Throws ERR_ADDON where there is none. */
export function addonFile(folder: string, { platform, arch }: Host): string {
  const host = `${platform}-${arch}`
  // What is two folders above an installed package is not ours.
  const places = [built.fromBundle, `${prebuilds}/${host}/tsvmm.node`, built.fromSources]
  const found = places.map(place => join(folder, place)).find(path => existsSync(path))
  if (found !== undefined) return found
  const others = hostsOf(join(folder, prebuilds))
  const reason = others.length === 0 ? 'run scripts/build-native' : `this package runs on ${others.join(', ')}`
  throw new TsvmmError('ERR_ADDON', { reason: `there is none for ${host}: ${reason}` })
}

function hostsOf(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder).toSorted() : []
}
