import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A directory of its own for a test's files; gone with the test. */
export class ScratchFiles implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'tsvmm-boot-'))

  write(name: string, contents: Uint8Array): string {
    const path = join(this.directory, name)
    writeFileSync(path, contents)
    return path
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true })
  }
}
