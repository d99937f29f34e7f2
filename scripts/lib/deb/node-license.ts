import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'

/**
 * The licences of Node and of what is in it, which have to go with each copy: the npm package that this Node came with has them, of
 * which nothing but the program was kept.
 */
export async function nodeLicense(): Promise<Uint8Array> {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-node-'))
  try {
    const name = `node-${process.platform}-${process.arch}@${process.versions.node}`
    const { stdout } = await execa('npm', ['pack', name, '--prefer-offline', '--pack-destination', place])
    await execa('tar', ['-xzf', stdout.trim(), 'package/LICENSE'], { cwd: place })
    return readFileSync(join(place, 'package/LICENSE'))
  } finally {
    rmSync(place, { recursive: true })
  }
}
