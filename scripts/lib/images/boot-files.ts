import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { type Partition, readPartitions } from './partitions.ts'

/** What the kernel is told of the root file system of a disk that is the first of its machine. Throws where it has none. */
export function rootOf(path: string): string {
  const partitions = readPartitions(path)
  const btrfs = partitions.find(({ fileSystem }) => fileSystem === 'btrfs')
  // Fedora has its system in a subvolume of that name.
  if (btrfs !== undefined) return `root=/dev/vda${btrfs.number} rootfstype=btrfs rootflags=subvol=root ro`
  const ext = extOf(partitions).find(each => namesIn(path, each, '/etc').includes('os-release'))
  if (ext === undefined) throw new Error(`${path}: has no root file system`)
  return `root=/dev/vda${ext.number} ro`
}

export interface BootFiles {
  readonly kernel: string
  readonly initramfs: string
}

/** Copies the newest kernel that a disk has, with its initramfs, into a folder. Read from the file system's structures: nothing is mounted. */
export function bootFilesOf(path: string, folder: string): BootFiles {
  for (const partition of extOf(readPartitions(path))) {
    for (const directory of ['/', '/boot/']) {
      const names = namesIn(path, partition, directory)
      const kernels = names.flatMap(name => {
        const version = /^vmlinuz-(?!0-rescue)(.+)$/.exec(name)?.[1] ?? ''
        const initramfs = [`initrd.img-${version}`, `initramfs-${version}.img`].find(each => names.includes(each))
        return version === '' || initramfs === undefined ? [] : [{ version, name, initramfs }]
      })
      const newest = kernels.toSorted((a, b) => a.version.localeCompare(b.version, 'en', { numeric: true })).at(-1)
      if (newest === undefined) continue
      const files = { kernel: join(folder, 'vmlinuz'), initramfs: join(folder, 'initramfs') }
      debugfs(path, partition, `dump ${directory}${newest.name} ${files.kernel}`)
      debugfs(path, partition, `dump ${directory}${newest.initramfs} ${files.initramfs}`)
      return files
    }
  }
  throw new Error(`${path}: has no kernel with an initramfs`)
}

function extOf(partitions: readonly Partition[]): Partition[] {
  return partitions.filter(({ fileSystem }) => fileSystem === 'ext')
}

/** The names in a directory; none where it is not there. */
function namesIn(path: string, partition: Partition, directory: string): string[] {
  // A line of `ls -p`: /inode/mode/user/group/name/size/
  return debugfs(path, partition, `ls -p ${directory}`)
    .split('\n')
    .map(line => line.split('/')[5] ?? '')
    .filter(name => name !== '')
}

function debugfs(path: string, { offsetBytes }: Partition, command: string): string {
  const environment = { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin:/sbin` }
  return execFileSync('debugfs', ['-R', command, `${path}?offset=${offsetBytes}`], {
    ...{ env: environment, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
  })
}
