import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { type Guest, subjects } from './subjects.ts'

const guest: Guest = {
  ...{ vmlinux: '/k/vmlinux', bzImage: '/k/vmlinuz', initrd: '/k/initrd', commandLine: 'quiet' },
  ...{ memoryMib: 512, cpus: 1, tap: 'tap7' },
  disks: [
    { path: '/d/root.img', readOnly: true },
    { path: '/d/data.img', readOnly: false },
  ],
}

test('a peer takes part where the environment names its program', t => {
  const names = (environment: NodeJS.ProcessEnv) => subjects(environment).map(({ name }) => name)
  t.deepEqual(names({}), ['tsvmm', 'qemu-microvm', 'qemu-q35'])
  t.deepEqual(names({ FIRECRACKER: '/fc', CLOUD_HYPERVISOR: '' }), ['tsvmm', 'qemu-microvm', 'qemu-q35', 'firecracker'])
  t.true(names({ CLOUD_HYPERVISOR: '/ch' }).includes('cloud-hypervisor'))
})

for (const subject of subjects({ CLOUD_HYPERVISOR: '/ch', FIRECRACKER: '/fc' })) {
  test(`${subject.name} gets the disks in their order, and the card`, t => {
    const directory = mkdtempSync(join(tmpdir(), 'tsvmm-subjects-test-'))
    t.teardown(() => rmSync(directory, { recursive: true }))
    const words = subject.command(guest, directory)
    const config = words.find(word => word.endsWith('firecracker.json'))
    const text = config === undefined ? words.join(' ') : readFileSync(config, 'utf8')
    const [root, data] = [text.indexOf('/d/root.img'), text.indexOf('/d/data.img')]
    t.true(root > 0 && root < data, text)
    t.regex(text.slice(root, data), /readonly=on|"is_read_only":true/)
    t.regex(text.slice(data), /readonly=off|"is_read_only":false/)
    t.true(text.includes('tap7'))
  })
}
