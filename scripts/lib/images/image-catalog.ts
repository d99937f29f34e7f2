import { type Digest, digestOf, findDigest } from './checksums.ts'
import { fetchText } from './download.ts'

/** Where an image is, and what it must be. */
export interface ImageSource {
  readonly url: string
  readonly digest: Digest
}

export type ReadText = (url: string) => Promise<string>

type Locate = (read: ReadText) => Promise<ImageSource>

/** An image whose digest is in a list beside it. */
function listed(folder: string, file: string, list: string): Locate {
  return async read => ({ url: `${folder}/${file}`, digest: findDigest(await read(`${folder}/${list}`), file) })
}

function ubuntu(release: string): Locate {
  const folder = `https://cloud-images.ubuntu.com/${release}/current`
  return listed(folder, `${release}-server-cloudimg-amd64.img`, 'SHA256SUMS')
}

const fedoraReleases = 'https://fedoraproject.org/releases.json'

/** Fedora has one list of all that it offers today. */
async function newestFedora(read: ReadText): Promise<ImageSource> {
  const images = listOf(JSON.parse(await read(fedoraReleases)))
    .filter(({ arch, variant, subvariant }) => arch === 'x86_64' && variant === 'Cloud' && subvariant === 'Cloud_Base')
    // Betas have names, not numbers.
    .filter(
      ({ version, link }) => /^\d+$/.test(version) && /Generic.*\.qcow2$/.test(link) && link.startsWith('https://'),
    )
    .toSorted((a, b) => Number(b.version) - Number(a.version))
  const [newest] = images
  const digest = newest && digestOf(newest.sha256)
  if (newest === undefined || digest === undefined) throw new Error(`${fedoraReleases}: has no cloud image`)
  return { url: newest.link, digest }
}

type Release = Readonly<Record<'version' | 'arch' | 'variant' | 'subvariant' | 'link' | 'sha256', string>>

function listOf(value: unknown): Release[] {
  if (!Array.isArray(value)) throw new Error(`${fedoraReleases}: is not a list`)
  return value.map((each: unknown) => {
    const text = (name: string) => {
      const field: unknown = typeof each === 'object' && each !== null ? Reflect.get(each, name) : undefined
      return typeof field === 'string' ? field : ''
    }
    return {
      ...{ version: text('version'), arch: text('arch'), variant: text('variant'), subvariant: text('subvariant') },
      ...{ link: text('link'), sha256: text('sha256') },
    }
  })
}

const fedora36 = 'https://archives.fedoraproject.org/pub/archive/fedora/linux/releases/36/Cloud/x86_64/images'

const images: Readonly<Record<string, Locate>> = {
  'ubuntu-focal': ubuntu('focal'),
  'ubuntu-jammy': ubuntu('jammy'),
  'ubuntu-noble': ubuntu('noble'),
  'fedora-36': listed(fedora36, 'Fedora-Cloud-Base-36-1.5.x86_64.qcow2', 'Fedora-Cloud-36-1.5-x86_64-CHECKSUM'),
  'fedora-latest': newestFedora,
  'debian-12': listed(
    'https://cloud.debian.org/images/cloud/bookworm/latest',
    'debian-12-generic-amd64.qcow2',
    'SHA512SUMS',
  ),
}

export const imageNames: readonly string[] = Object.keys(images)

/** Asks the distribution where the image of that name is today. Rejects with one line that names the address. */
export async function locateImage(name: string, read: ReadText = fetchText): Promise<ImageSource> {
  const locate = imageNames.includes(name) ? images[name] : undefined
  if (locate === undefined) throw new Error(`no image is called ${name}; there are ${imageNames.join(', ')}`)
  return locate(read)
}
