import { chmodSync, copyFileSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { execa } from 'execa'
import { nativeNotices } from './lib/notices.ts'
import { checkPortable } from './lib/portable.ts'

/** Makes the checkout ready to be packed: the bundle, and this host's addon in prebuilds/, where the package looks for it. */
const root = new URL('..', import.meta.url).pathname
const folder = `${root}prebuilds/${process.platform}-${process.arch}`

// Whoever packs at the same time waits, and finds it made.
const bundle = [`${root}build`, 'node', 'scripts/bundle.ts', '--if-changed']
await execa('flock', bundle, { cwd: root, preferLocal: true, stdout: process.stderr })
await checkPortable(`${root}build/tsvmm.node`)
mkdirSync(folder, { recursive: true })
copyFileSync(`${root}build/tsvmm.node`, `${folder}/tsvmm.node.new`)
chmodSync(`${folder}/tsvmm.node.new`, 0o644)
renameSync(`${folder}/tsvmm.node.new`, `${folder}/tsvmm.node`)
writeFileSync(`${folder}/NOTICES`, nativeNotices())
