import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { convertToRaw } from './convert.ts'

test('qcow2 becomes raw, raw stays so, and what refers to other files is refused', t => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvmm-convert-test-'))
  try {
    const path = (name: string) => join(folder, name)
    const bytes = Buffer.alloc(1024 * 1024, 'contents')
    writeFileSync(path('raw'), bytes)
    const qemuImg = (...args: string[]) => execFileSync('qemu-img', args, { cwd: folder, stdio: 'ignore' })
    qemuImg('convert', '-O', 'qcow2', '-c', 'raw', 'image.img')
    for (const name of ['raw', 'image.img']) {
      convertToRaw(path(name), path('out'))
      t.true(readFileSync(path('out')).equals(bytes), name)
    }
    qemuImg('create', '-f', 'qcow2', '-b', '/etc/passwd', '-F', 'raw', 'backed')
    t.throws(() => convertToRaw(path('backed'), path('out')), { message: /backed: refers to another file$/ })
    qemuImg('create', '-f', 'qcow2', '-o', 'data_file=other,data_file_raw=on', 'split', '1M')
    t.throws(() => convertToRaw(path('split'), path('out')), { message: /split: refers to another file$/ })
    qemuImg('create', '-f', 'vmdk', 'virtual', '1M')
    t.throws(() => convertToRaw(path('virtual'), path('out')), { message: /: is vmdk; qcow2 and raw are known$/ })
  } finally {
    rmSync(folder, { recursive: true })
  }
})
