import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { addonFile } from './addon-file.ts'

const host = { platform: 'linux', arch: 'x64' }

function aPackage(t: ExecutionContext, ...files: readonly string[]): string {
  const root = mkdtempSync(join(tmpdir(), 'tsvmm-package-'))
  t.teardown(() => rmSync(root, { recursive: true }))
  for (const file of ['dist/index.js', ...files]) {
    mkdirSync(dirname(join(root, file)), { recursive: true })
    writeFileSync(join(root, file), '')
  }
  return root
}

test('a package has an addon for each host that it is for', t => {
  const root = aPackage(t, 'prebuilds/linux-x64/tsvmm.node', 'prebuilds/linux-arm64/tsvmm.node')
  t.is(addonFile(join(root, 'dist'), host), join(root, 'prebuilds/linux-x64/tsvmm.node'))
  t.is(addonFile(join(root, 'dist'), { ...host, arch: 'arm64' }), join(root, 'prebuilds/linux-arm64/tsvmm.node'))
})

test('a checkout has its own, whatever was packed in it', t => {
  const root = aPackage(t, 'prebuilds/linux-x64/tsvmm.node', 'build/tsvmm.node')
  for (const folder of ['dist', 'src/native']) t.is(addonFile(join(root, folder), host), join(root, 'build/tsvmm.node'))
})

test('where there is none for the host one line says which there are', t => {
  const folder = join(aPackage(t, 'prebuilds/linux-x64/tsvmm.node'), 'dist')
  const message = 'native addon: there is none for darwin-arm64: this package runs on linux-x64'
  t.throws(() => addonFile(folder, { platform: 'darwin', arch: 'arm64' }), { code: 'ERR_ADDON', message })
  const unbuilt = 'native addon: there is none for linux-x64: run scripts/build-native'
  t.throws(() => addonFile(join(aPackage(t), 'dist'), host), { code: 'ERR_ADDON', message: unbuilt })
})
