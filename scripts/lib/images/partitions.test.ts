import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { bootFilesOf, rootOf } from './boot-files.ts'
import { parsePartition, writeDiskImage } from './disk-image.ts'
import { readPartitions } from './partitions.ts'

const mebibyte = 1024 * 1024

/** A folder with disks that are made of files by their paths. */
class Disks implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'tsvmm-partitions-'))

  /** An ext4 file system with these files. */
  ext4(name: string, files: readonly string[]): string {
    const [tree, image] = [join(this.path, `${name}.tree`), join(this.path, `${name}.ext4`)]
    for (const file of files) {
      mkdirSync(join(tree, file, '..'), { recursive: true })
      writeFileSync(join(tree, file), `contents of ${file}`)
    }
    execFileSync('mke2fs', ['-q', '-t', 'ext4', '-d', tree, image, '8M'], {
      env: { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin` },
    })
    return image
  }

  /** What is told to be btrfs by its signature. */
  btrfs(): string {
    const image = join(this.path, 'btrfs')
    const bytes = Buffer.alloc(mebibyte)
    bytes.write('_BHRfS_M', 0x10040, 'latin1')
    writeFileSync(image, bytes)
    return image
  }

  disk(...partitions: readonly string[]): string {
    const image = join(this.path, 'disk.raw')
    writeDiskImage(image, partitions.map(parsePartition))
    return image
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true })
  }
}

test('partitions are read back with their numbers, names, places and file systems', t => {
  using disks = new Disks()
  const esp = join(disks.path, 'esp')
  writeFileSync(esp, Buffer.alloc(mebibyte + 100))
  const disk = disks.disk(`15,uefi,ESP,${esp}`, `1,linux,root,${disks.ext4('root', ['etc/os-release'])}`)
  t.deepEqual(readPartitions(disk), [
    { number: 1, name: 'root', offsetBytes: 3 * mebibyte, sizeBytes: 8 * mebibyte, fileSystem: 'ext' },
    { number: 15, name: 'ESP', offsetBytes: mebibyte, sizeBytes: mebibyte + 512, fileSystem: undefined },
  ])
  writeFileSync(disk, Buffer.alloc(mebibyte))
  t.throws(() => readPartitions(disk), { message: `${disk}: has no GPT` })
})

test('the root is where the system is: of btrfs the subvolume that Fedora has it in', t => {
  using disks = new Disks()
  const boot = disks.ext4('boot', ['vmlinuz-6.1', 'initramfs-6.1.img'])
  const root = disks.ext4('root', ['etc/os-release', 'boot/vmlinuz-5.10', 'boot/initrd.img-5.10'])
  t.is(rootOf(disks.disk(`16,boot,BOOT,${boot}`, `1,linux,root,${root}`)), 'root=/dev/vda1 ro')
  const flags = 'root=/dev/vda3 rootfstype=btrfs rootflags=subvol=root ro'
  t.is(rootOf(disks.disk(`2,boot,boot,${boot}`, `3,linux,root,${disks.btrfs()}`)), flags)
  const empty = disks.disk(`2,boot,boot,${boot}`)
  t.throws(() => rootOf(empty), { message: `${empty}: has no root file system` })
})

test('kernel and initramfs come from the partition that has them, the newest of several', t => {
  using disks = new Disks()
  const read = (path: string) => execFileSync('cat', [path]).toString()
  const root = disks.ext4('root', [
    'etc/os-release',
    'boot/vmlinuz-5.9',
    'boot/initrd.img-5.9',
    'boot/vmlinuz-5.10',
    'boot/initrd.img-5.10',
  ])
  const first = bootFilesOf(disks.disk(`1,linux,root,${root}`), disks.path)
  t.is(read(first.kernel), 'contents of boot/vmlinuz-5.10')
  t.is(read(first.initramfs), 'contents of boot/initrd.img-5.10')
  const boot = disks.ext4('boot', [
    'vmlinuz-6.1',
    'initramfs-6.1.img',
    'vmlinuz-0-rescue-77',
    'initramfs-0-rescue-77.img',
  ])
  const second = bootFilesOf(disks.disk(`2,boot,boot,${boot}`, `3,linux,root,${disks.btrfs()}`), disks.path)
  t.is(read(second.kernel), 'contents of vmlinuz-6.1')
  t.is(read(second.initramfs), 'contents of initramfs-6.1.img')
  const none = disks.disk(`3,linux,root,${disks.btrfs()}`)
  t.throws(() => bootFilesOf(none, disks.path), { message: `${none}: has no kernel with an initramfs` })
})
