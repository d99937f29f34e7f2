import { constants, copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'

/** A folder for one test's scratch files, removed with its contents when disposed of. */
export class Workspace implements Disposable {
  readonly directory: string

  /** In `base`, or where temporary files go: in the lab that is memory, which cannot be opened directly. */
  constructor(base = tmpdir()) {
    this.directory = mkdtempSync(join(base, 'tsvmm-test-'))
  }

  path(name: string): string {
    return join(this.directory, name)
  }

  /** A copy that the test may write to; holes stay holes, blocks are shared where the file system can. */
  copy(source: string): string {
    const target = this.path(basename(source))
    copyFileSync(source, target, constants.COPYFILE_FICLONE)
    return target
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true })
  }
}
