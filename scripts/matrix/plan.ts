/**
 * What of an image boots it: our kernel, the image's own, edk2, rust-hypervisor-firmware where there is one; `qemu` is Debian's
 * QEMU, which checks the image itself.
 */
export const ways = ['custom', 'distribution', 'firmware', 'rust-firmware', 'qemu'] as const
export type Way = (typeof ways)[number]

/** What is done with a machine that has booted; `boot` is that, and `reboot` is of what firmware boots. */
export const verbs = ['boot', 'restore', 'reboot', 'migrate', 'chain', 'clone'] as const
export type Verb = (typeof verbs)[number]

export const vcpuCounts = [1, 2] as const

export interface ChosenImage {
  readonly name: string
  /** Whose seed it gets: a folder of fixtures/cloud-init. */
  readonly distro: 'ubuntu' | 'fedora'
  /** A distribution's own, or one that was made here to stand in for it. */
  readonly isReal: boolean
}

export interface MatrixImage extends ChosenImage {
  /** Its file on this machine. */
  readonly path: string
}

/** A machine, and all that is done with it: one boot, and a snapshot of that where all else begins. */
export interface Group<Image extends ChosenImage = MatrixImage> {
  readonly image: Image
  readonly way: Way
  readonly vcpus: number
  /** Beginning with `boot`. */
  readonly verbs: readonly Verb[]
  /** Of the way `rust-firmware`: its file on this machine. */
  readonly rustFirmware?: string
}

export interface Cell {
  readonly image: string
  readonly way: Way
  readonly vcpus: number
  readonly verb: Verb
}

/** A cell that was run. */
export interface CellResult extends Cell {
  readonly seconds: number
  /** Of what began with a snapshot: until a machine made of it answered. */
  readonly startSeconds?: number
  /** Why it failed; absent where it did not. */
  readonly error?: string
}

/** Values of each axis that are wanted; all where there are none. */
export interface Filter {
  readonly images: readonly string[]
  readonly ways: readonly Way[]
  readonly vcpus: readonly number[]
  readonly verbs: readonly Verb[]
}

/** `fedora-like firmware 1 restore`: each word is a value of an axis, in any order. Throws for one that is none. */
export function parseFilter(words: readonly string[], imageNames: readonly string[]): Filter {
  const of = <T extends string>(values: readonly T[]) => values.filter(value => words.includes(value))
  const vcpus = vcpuCounts.filter(count => words.includes(String(count)))
  const filter = { images: of(imageNames), ways: of(ways), vcpus, verbs: of(verbs) }
  const known = [...imageNames, ...ways, ...vcpuCounts.map(String), ...verbs]
  const unknown = words.find(word => !known.includes(word))
  if (unknown !== undefined) throw new Error(`${unknown}: is none of ${known.join(', ')}`)
  return filter
}

/** All groups of these images, which are the wanted ones already, that have a wanted cell. */
export function planGroups<Image extends ChosenImage>(
  images: readonly Image[],
  filter: Omit<Filter, 'images'>,
  rustFirmware?: string,
): Group<Image>[] {
  const wants = <T>(wanted: readonly T[], value: T) => wanted.length === 0 || wanted.includes(value)
  const firmware = (way: Way) => (way === 'rust-firmware' && rustFirmware !== undefined ? { rustFirmware } : {})
  return images
    .flatMap(image => ways.filter(way => wants(filter.ways, way)).map(way => ({ image, way, ...firmware(way) })))
    .filter(group => group.way !== 'rust-firmware' || group.rustFirmware !== undefined)
    .flatMap(group => {
      const counts = group.way === 'qemu' ? vcpuCounts.slice(0, 1) : vcpuCounts
      return counts.filter(count => wants(filter.vcpus, count)).map(vcpus => ({ ...group, vcpus }))
    })
    .map(group => {
      const possible = verbsOf(group.way)
      const wanted = possible.filter(verb => wants(filter.verbs, verb))
      return { ...group, verbs: possible.filter(verb => verb === 'boot' || wanted.includes(verb)), wanted }
    })
    .filter(({ wanted }) => wanted.length > 0)
    .map(({ wanted: _, ...group }) => group)
}

/** QEMU only checks the image. A kernel of the command line is the same at each reboot, whatever the image. */
function verbsOf(way: Way): Verb[] {
  const isFirmware = way === 'firmware' || way === 'rust-firmware'
  return verbs.filter(verb => verb === 'boot' || (way !== 'qemu' && (verb !== 'reboot' || isFirmware)))
}

/** What `npm test` runs of it: every image, way and verb, and both numbers of vCPUs, each somewhere. */
export function suiteGroups<Image extends ChosenImage>(images: readonly Image[]): Group<Image>[] {
  const cells: readonly (Omit<Group, 'image'> & { distro: ChosenImage['distro'] })[] = [
    { distro: 'ubuntu', way: 'firmware', vcpus: 1, verbs: ['boot', 'reboot', 'restore'] },
    { distro: 'fedora', way: 'firmware', vcpus: 2, verbs: ['boot', 'migrate', 'chain'] },
    { distro: 'ubuntu', way: 'custom', vcpus: 2, verbs: ['boot', 'clone'] },
    { distro: 'fedora', way: 'custom', vcpus: 1, verbs: ['boot'] },
    { distro: 'fedora', way: 'distribution', vcpus: 1, verbs: ['boot'] },
    { distro: 'ubuntu', way: 'qemu', vcpus: 1, verbs: ['boot'] },
  ]
  return cells.flatMap(({ distro, ...group }) =>
    images
      .filter(image => image.distro === distro)
      .slice(0, 1)
      .map(image => ({ image, ...group })),
  )
}

export function cellsOf({ image, way, vcpus, verbs: wanted }: Group<ChosenImage>): Cell[] {
  return wanted.map(verb => ({ image: image.name, way, vcpus, verb }))
}

/** As one word, for files and lists. */
export function nameOf({ image, way, vcpus, verb }: Cell): string {
  return `${image}-${way}-${vcpus}-${verb}`
}
