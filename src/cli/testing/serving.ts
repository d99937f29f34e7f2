import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'

export const program = new URL('../tsvmm.ts', import.meta.url).pathname

export function launch(args: readonly string[], descriptors: readonly number[], env: NodeJS.ProcessEnv = {}) {
  const stdio = ['ignore', 'pipe', 'pipe', ...descriptors] as const
  return spawn(process.execPath, [program, ...args], { stdio: [...stdio], env: { ...process.env, ...env } })
}

/** The program serving a socket in a folder of its own, without a hypervisor; what is listed of it is in that folder, too. */
export class Serving implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'tsvmm-serve-'))
  readonly socket = join(this.folder, 'api.sock')
  readonly environment = { TSVMM_RUNTIME_DIR: join(this.folder, 'run') }
  #process: ReturnType<typeof launch> | undefined
  stderr = ''

  path(name: string): string {
    return join(this.folder, name)
  }

  /** Starts it and waits until it answers. */
  async start(args: readonly string[] = ['--api-socket', this.socket], descriptors: readonly number[] = []) {
    const started = launch(['--kvm', '/dev/null', ...args], descriptors, this.environment)
    this.#process = started
    started.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
    while ((await this.command('ping')).exitCode !== 0) {
      if (started.exitCode !== null) throw new Error(this.stderr)
    }
    return started
  }

  command(...args: readonly string[]) {
    return this.run('--api-socket', this.socket, ...args)
  }

  /** The program with these arguments alone. */
  run(...args: readonly string[]) {
    return execa(process.execPath, [program, ...args], { reject: false, stdin: 'ignore', env: this.environment })
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    const started = this.#process
    if (started === undefined || started.exitCode !== null) return started?.exitCode ?? null
    started.kill(signal)
    await once(started, 'exit')
    return started.exitCode
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process?.signalCode === null) await this.end('SIGKILL')
    rmSync(this.folder, { recursive: true })
  }
}
